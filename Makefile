# closecrm.fcgi: one flat Makefile. `make help` lists the targets.

VERSION := 0.1.0
PREFIX ?= /usr/local
CC ?= cc

# ---- what it is made of -------------------------------------------------------------------------------------------
FOLDERS := http webhook queue transform forward commands watch config
SOURCES := $(foreach f,$(FOLDERS),$(wildcard $(f)/*.c))
TEST_SOURCES := $(wildcard tests/*.c tests/unit/*.c tests/system/*.c)
BENCH_SOURCES := $(wildcard bench/*.c)
ALL_C := closecrm.fcgi.c $(SOURCES) $(TEST_SOURCES) $(BENCH_SOURCES)
ALL_H := $(wildcard $(FOLDERS:=/*.h) tests/*.h tests/unit/*.h tests/system/*.h bench/*.h)

PACKAGES := fcgi json-c libcurl libcrypto uuid inih libisal
TEST_PACKAGES := cunit libmicrohttpd zlib
pkg = $(shell pkg-config $(1) $(2) 2>/dev/null)

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
CPPFLAGS_ALL = -D_GNU_SOURCE -DCLOSECRM_VERSION='"$(VERSION)"' -I. $(call pkg,--cflags,$(PACKAGES))
CFLAGS_ALL := -std=c11 -pthread $(WARNINGS) -g
LIBS = $(call pkg,--libs,$(PACKAGES))
TEST_LIBS = $(call pkg,--libs,$(TEST_PACKAGES))

# ---- variants: the same sources, compiled for use and for finding faults --------------------------------------------
VARIANTS := release asan tsan
CFLAGS_release := -O2 -fPIE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fcf-protection
LDFLAGS_release := -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed
CFLAGS_asan := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
LDFLAGS_asan := -fsanitize=address,undefined
CFLAGS_tsan := -O1 -fno-omit-frame-pointer -fsanitize=thread
LDFLAGS_tsan := -fsanitize=thread

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all run test check format asan tsan valgrind bench install uninstall clean help setup-run setup-test

all: closecrm.fcgi ## build the program

closecrm.fcgi: build/release/closecrm.fcgi
	cp $< $@.new && mv $@.new $@

# One variant: objects under build/VARIANT, the program, the test program, the benchmarks.
define variant
build/$(1)/%.o: %.c Makefile
	@mkdir -p $$(@D)
	$$(CC) $$(CPPFLAGS_ALL) $$(CPPFLAGS) $$(CFLAGS_ALL) $$(CFLAGS_$(1)) $$(CFLAGS) -MMD -MP -c $$< -o $$@

build/$(1)/closecrm.fcgi: build/$(1)/closecrm.fcgi.o $(SOURCES:%.c=build/$(1)/%.o)
	$$(CC) -pthread $$(LDFLAGS_$(1)) $$(LDFLAGS) $$^ $$(LIBS) -o $$@

build/$(1)/tests/all: $(TEST_SOURCES:%.c=build/$(1)/%.o) $(SOURCES:%.c=build/$(1)/%.o)
	$$(CC) -pthread $$(LDFLAGS_$(1)) $$(LDFLAGS) $$^ $$(TEST_LIBS) $$(LIBS) -o $$@

build/$(1)/bench/%: build/$(1)/bench/%.o $(SOURCES:%.c=build/$(1)/%.o)
	$$(CC) -pthread $$(LDFLAGS_$(1)) $$(LDFLAGS) $$^ $$(TEST_LIBS) $$(LIBS) -o $$@

.SECONDARY: $(BENCH_SOURCES:%.c=build/$(1)/%.o)

-include $(patsubst %.c,build/$(1)/%.d,closecrm.fcgi.c $(SOURCES) $(TEST_SOURCES) $(BENCH_SOURCES))
endef
$(foreach v,$(VARIANTS),$(eval $(call variant,$(v))))

# ---- speed: what is measured is printed, nothing is judged -----------------------------------------------------------
bench: $(BENCH_SOURCES:%.c=build/release/%) ## measure how fast the parts are
	for program in $^; do $$program || exit 1; done

clean: ## remove what was built
	rm -rf build closecrm.fcgi
