# Appends numbered lines to the file `log` until the file `go` appears.
use strict;
use warnings;
use Fcntl;
sysopen(my $log, "log", O_WRONLY | O_CREAT | O_APPEND, 0644) or die "log: $!";
my %seen;
print STDOUT "ready\n";
for (my $k = 0; ! -e "go"; $k++) {
    my $line = "line $k\n";
    syswrite($log, $line) == length $line or die "write: $!";
    $seen{$k} = $k * $k;
    select(undef, undef, undef, 0.01);
}
for my $k (keys %seen) {
    print "FAIL $k\n" if $seen{$k} != $k * $k;
}
print "PASS\n";
