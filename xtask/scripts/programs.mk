# Compiles every test program with the Debian tree's gcc; one whose first line says "static" also as NAME-static.
sources := $(wildcard *.c)
plain := $(sources:%.c=../programs/%)
static := $(foreach s,$(sources),$(if $(findstring static,$(shell head -n 1 $(s))),../programs/$(s:.c=-static)))
flags := -O1 -g -pthread -Wall

# Linked with the library, which the guest has not; it could load plugins, which it will not find.
../programs/openmp: flags += -fopenmp -static -Wl,--no-warnings

all: $(plain) $(static)
	@rm -f $(filter-out $^,$(wildcard ../programs/*))

$(plain): ../programs/%: %.c $(wildcard *.h)
	@echo "  CC      tests/programs/$<"
	@gcc-14 $(flags) -o $@ $< -lm

$(static): ../programs/%-static: %.c $(wildcard *.h)
	@echo "  CC      tests/programs/$< (static)"
	@gcc-14 $(flags) -static -o $@ $< -lm
