# One thread logs numbered lines, one computes, one hands numbers to another; checks itself when the file `go` appears.
require "digest"

faults = []
log = File.open("lines", "a")
want = Digest::SHA256.hexdigest("word" * 1000)
queue = Queue.new
written = handed = taken = rounds = 0

Thread.report_on_exception = true
Thread.abort_on_exception = true
Thread.new do
  loop do
    log.puts("line #{written}")
    log.flush
    written += 1
    sleep 0.01
  end
end
Thread.new do
  loop do
    queue << handed
    handed += 1
    sleep 0.005
  end
end
Thread.new do
  loop do
    number = queue.pop
    faults << "#{number} instead of #{taken}" if number != taken
    taken += 1
  end
end
Thread.new do
  loop do
    table = (0...2000).map { |k| [k.to_s, k * k] }.to_h
    faults << "the table is wrong" if table["1999"] != 1999 * 1999 || table.size != 2000
    faults << "the digest is wrong" if Digest::SHA256.hexdigest("word" * 1000) != want
    rounds += 1
  end
end

sleep 0.05 until [written, taken, rounds].min > 2
$stdout.puts "ready"
$stdout.flush
last = Process.clock_gettime(Process::CLOCK_MONOTONIC)
until File.exist?("go")
  sleep 0.05
  now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  faults << "the clock went back" if now < last
  last = now
end
faults << "too little was done: #{[written, taken, rounds]}" if [written, taken, rounds].min < 5
puts faults.empty? ? "PASS" : faults.map { |f| "FAIL #{f}" }
exit!(faults.empty? ? 0 : 1) if $stdout.flush
