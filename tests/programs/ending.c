/* A program that ends in a given way: ending exit STATUS | signal NUMBER | stop | idle */
#include "scene.h"

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "exit";
    int number = argc > 2 ? atoi(argv[2]) : 0;
    ready();
    wait_go();
    if (!strcmp(how, "signal")) {
        signal(number, SIG_DFL);
        raise(number);
    }
    if (!strcmp(how, "stop")) {
        raise(SIGSTOP);
        say("continued");
        return verdict();
    }
    say("PASS");
    return number;
}
