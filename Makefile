# closecrm.fcgi: one flat Makefile. `make help` lists the targets.

VERSION := 0.1.0
PREFIX ?= /usr/local

# ---- what it is made of -------------------------------------------------------------------------------------------
# The engine `postgresql`, where libpq is there; POSTGRESQL= leaves it out.
POSTGRESQL := $(shell pkg-config --exists libpq 2>/dev/null && echo libpq)
FOLDERS := base config kept transform telemetry queue queue/sqlite $(if $(POSTGRESQL),queue/postgresql) http webhook forward closeapi \
	health status process commands
SOURCES := $(foreach f,$(FOLDERS),$(wildcard $(f)/*.c))
SUPPORT_SOURCES := $(wildcard tests/support/*.c)
TEST_SOURCES := $(wildcard tests/*.c tests/unit/*.c tests/component/*.c tests/system/*.c tests/faults/*.c) $(SUPPORT_SOURCES)
STANDIN_SOURCES := $(wildcard tests/support/standin/*.c) $(SUPPORT_SOURCES)
BENCH_SOURCES := $(wildcard bench/*.c)
FUZZERS := $(patsubst fuzz/%.c,%,$(wildcard fuzz/*.c)) # one file a fuzzer
FUZZ_RIG := $(wildcard fuzz/rig/*.c) tests/support/strict_json.c tests/support/slice.c
BENCH_PROGRAMS := $(filter-out bench/sample,$(BENCH_SOURCES:%.c=%)) # sample.c is part of them
ALL_C := $(wildcard closecrm.fcgi.c) $(SOURCES) $(TEST_SOURCES) $(wildcard tests/support/standin/*.c tests/sanitizer/*.c) \
	$(BENCH_SOURCES) $(wildcard packaging/bundle/*.c packaging/manual/*.c fuzz/*.c fuzz/rig/*.c tests/faults/shim/*.c tests/power/*.c)
ALL_H := $(wildcard $(FOLDERS:=/*.h) tests/*.h tests/*/*.h bench/*.h fuzz/rig/*.h)
SAMPLES := $(shell find $(wildcard apache lighttpd nginx config/*.conf closeapi/*.tsv packaging/*.json packaging/*.yml packaging/systemd/*.conf packaging/postgresql) /dev/null -type f)

# Close's event types, a table in a file that people can read, as C: the program is one file.
EVENT_TYPES := build/closeapi/event-types.inc

# pkg-config is asked when a recipe runs and not when this file is read: on a fresh machine `make run` and `make test`
# install it in between.
PACKAGES := fcgi json-c libcurl nettle uuid inih libisal sqlite3
# Loaded when they are used, and not linked with: by base/curl_calls when something is to be sent, by queue/postgresql.
LOADED := libcurl $(POSTGRESQL)
# Confinement by seccomp, where the library is there; SECCOMP= leaves it out.
SECCOMP = $(shell pkg-config --exists libseccomp && echo libseccomp)
TEST_PACKAGES := cunit libmicrohttpd zlib libcrypto
pkg = $(call found,$(shell pkg-config $(1) $(2) || echo MISSING),$(if $(filter cunit,$(2)),setup-test,setup-run))
found = $(if $(filter MISSING,$(1)),$(error a library is missing: `make $(2)` installs what is needed),$(1))

# V=1 shows whole command lines.
quiet = $(if $(V),,@echo "  $(1)" $(2) &&)

# WERROR= builds in spite of warnings, for compilers that are newer than this file.
WERROR := -Werror
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla \
	-Wformat=2 $(WERROR)
CPPFLAGS_ALL = -D_GNU_SOURCE -DCLOSECRM_VERSION='"$(VERSION)"' -I. $(call pkg,--cflags,$(PACKAGES) $(SECCOMP) $(POSTGRESQL)) $(if $(POSTGRESQL),-DCLOSECRM_POSTGRESQL)
CFLAGS_ALL := -std=c11 -pthread $(WARNINGS) -g
LIBS = $(call pkg,--libs,$(filter-out $(LOADED),$(PACKAGES)) $(SECCOMP)) -ldl -lm
TEST_LIBS = $(call pkg,--libs,$(TEST_PACKAGES))

# ---- variants: the same sources, compiled for use and for finding faults --------------------------------------------
# Shadow stacks and branch targets are named differently by each processor's compiler.
MACHINE := $(shell uname -m)
CONTROL_FLOW_x86_64 := -fcf-protection
CONTROL_FLOW_aarch64 := -mbranch-protection=standard

VARIANTS := release asan tsan valgrind trace
CFLAGS_release := -O2 -fPIE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection \
	$(CONTROL_FLOW_$(MACHINE))
LDFLAGS_release := -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed
CFLAGS_asan := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
LDFLAGS_asan := -fsanitize=address,undefined
CFLAGS_tsan := -O1 -fno-omit-frame-pointer -fsanitize=thread
LDFLAGS_tsan := -fsanitize=thread
# Without fortification: valgrind takes glibc's checking memmove for a memcpy that overlaps.
CFLAGS_valgrind := -O1 -fno-omit-frame-pointer
LDFLAGS_valgrind :=
SHIM_asan := -DSHIM_WITHOUT_MEMORY
SHIM_tsan := -DSHIM_WITHOUT_MEMORY
# Each function's entry is noted: bench/paths.
CFLAGS_trace := -O0 -finstrument-functions
LDFLAGS_trace :=

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all release run test check format asan tsan valgrind bench bundle deb manual test-packages test-trixie test-hosts install uninstall clean help \
	build-test build-asan build-tsan build-packages prepare-chroots test-browser test-storm test-upgrade bench-compare soak paths fuzz fuzz-short build-fuzz setup-fuzz setup-run setup-test setup-check setup-bench setup-browser check-all check-cppcheck check-format check-includes check-manual test-faults test-power test-model test-clients test-systemd test-failover

all: closecrm.fcgi ## build the program

closecrm.fcgi: build/release/closecrm.fcgi
	@cp $< $@.new && mv $@.new $@

# The manual pages: what the templates leave open is filled in from the tables of commands and keys.
PAGES := build/manual/closecrm.fcgi.8 build/manual/closecrm.conf.5

build/manual/%: packaging/manual/% build/release/manual
	@mkdir -p $(@D)
	$(call quiet,MANUAL,$@) build/release/manual $< >$@

# What the sanitizers must be told stands in the programs themselves, for web servers clean their children's environment.
SANITIZER_asan := build/asan/tests/sanitizer/suppressions.o
SANITIZER_tsan := build/tsan/tests/sanitizer/suppressions.o
SANITIZER_trace := build/trace/bench/paths/trace.o
REPORTS_asan := build/asan/tests/sanitizer/reports.o
REPORTS_tsan := build/tsan/tests/sanitizer/reports.o

# Files that the program carries in itself, as lists of their bytes.
EMBEDDED := build/status/page.css.inc build/status/page.js.inc

$(EMBEDDED): build/%.inc: % Makefile
	@mkdir -p $(@D)
	@od -An -v -tx1 $< | sed 's/ \([0-9a-f][0-9a-f]\)/0x\1,/g' >$@.new && mv $@.new $@

$(EVENT_TYPES): closeapi/event-types.tsv Makefile
	@mkdir -p $(@D)
	sed -n 's/^\([^#\t][^\t]*\)\t\([^\t]*\)$$/{"\1", "\2"},/p' $< >$@

# One variant: objects under build/VARIANT, the program, the test program, the stand-in data plane, the benchmarks.
define variant
build/$(1)/%.o: %.c Makefile
	@mkdir -p $$(@D)
	$$(call quiet,CC,$$@) $$(CC) $$(CPPFLAGS_ALL) $$(CPPFLAGS) $$(CFLAGS_ALL) $$(CFLAGS_$(1)) $$(CFLAGS) -MMD -MP -c $$< -o $$@

build/$(1)/status/page.o: $(EMBEDDED)

build/$(1)/closeapi/subscriptions.o: $(EVENT_TYPES)

build/$(1)/process/confine.o: CPPFLAGS_ALL += $$(if $$(SECCOMP),-DCLOSECRM_SECCOMP)

build/$(1)/closecrm.fcgi: build/$(1)/closecrm.fcgi.o $(SOURCES:%.c=build/$(1)/%.o) $(SANITIZER_$(1)) $(REPORTS_$(1))
	$$(call quiet,LINK,$$@) $$(CC) -pthread $$(LDFLAGS_$(1)) $$(LDFLAGS) $$^ $$(LIBS) -o $$@

build/$(1)/tests/all: $(TEST_SOURCES:%.c=build/$(1)/%.o) $(SOURCES:%.c=build/$(1)/%.o) $(SANITIZER_$(1)) | build/$(1)/tests/faults.so
	$$(call quiet,LINK,$$@) $$(CC) -pthread $$(LDFLAGS_$(1)) $$(LDFLAGS) $$^ $$(TEST_LIBS) $$(LIBS) -o $$@

# Loaded into the program by the suite `faults`: without sanitizers, for it stands before theirs; and with them allocations
# do not fail, for they must see who asked.
build/$(1)/tests/faults.so: tests/faults/shim/shim.c tests/faults/plan.h Makefile
	@mkdir -p $$(@D)
	$$(call quiet,LINK,$$@) $$(CC) $$(CPPFLAGS_ALL) $$(CFLAGS_ALL) -O1 -fno-omit-frame-pointer -fPIC -shared $(SHIM_$(1)) $$< -o $$@

build/$(1)/standin: $(STANDIN_SOURCES:%.c=build/$(1)/%.o) $(SOURCES:%.c=build/$(1)/%.o) $(SANITIZER_$(1))
	$$(call quiet,LINK,$$@) $$(CC) -pthread $$(LDFLAGS_$(1)) $$(LDFLAGS) $$^ $$(TEST_LIBS) $$(LIBS) -o $$@

build/$(1)/manual: build/$(1)/packaging/manual/manual.o $(SOURCES:%.c=build/$(1)/%.o)
	$$(call quiet,LINK,$$@) $$(CC) -pthread $$(LDFLAGS_$(1)) $$(LDFLAGS) $$^ $$(LIBS) -o $$@

build/$(1)/tests/sanitizer/reports.o: CPPFLAGS_ALL += -DREPORTS='"$(CURDIR)/build/$(1)/reports/$(1)"'

# Programs for themselves: what they are linked with is what they cost.
build/$(1)/bench/null_cgi build/$(1)/bench/meter: %: %.o
	$$(call quiet,LINK,$$@) $$(CC) $$(LDFLAGS_$(1)) $$(LDFLAGS) $$< -o $$@

build/$(1)/bench/%: build/$(1)/bench/%.o build/$(1)/bench/sample.o $(SOURCES:%.c=build/$(1)/%.o)
	$$(call quiet,LINK,$$@) $$(CC) -pthread $$(LDFLAGS_$(1)) $$(LDFLAGS) $$^ $$(TEST_LIBS) $$(LIBS) -o $$@

# Nobody runs it: what is loaded later, as ldd and Debian's tools for dependencies understand it.
build/$(1)/loaded.so: Makefile
	@mkdir -p $$(@D)
	$$(call quiet,LINK,$$@) $$(CC) -shared -x c /dev/null -Wl,--no-as-needed $$(call pkg,--libs,$$(LOADED)) -o $$@

-include $(patsubst %.c,build/$(1)/%.d,closecrm.fcgi.c $(SOURCES) $(TEST_SOURCES) $(STANDIN_SOURCES) $(BENCH_SOURCES))
endef
$(foreach v,$(VARIANTS),$(eval $(call variant,$(v))))
.SECONDARY:

# ---- fuzzers: the same sources, compiled by clang for libFuzzer, and a program for each file in fuzz/ ------------------
# The compiler is the one of the release of Debian: libFuzzer is a package beside each version of it.
FUZZ_CC = $(shell packaging/install-packages --print fuzz | grep -o 'clang-[0-9][0-9]*' | head -n 1)
FUZZ_CFLAGS := -std=c11 -pthread -g -O1 -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize-recover=all

FUZZ_PROGRAM := $(filter-out commands/% process/%,$(SOURCES))

# Functions that a fuzzer has in place of the program's own.
WRAPPED_differential := close_call
WRAPPED_event_log := close_call
WRAPPED_http := read write poll
WRAPPED_status := forward_try self_test
WRAPPED_answers := http_request_open poll
WRAPPED_launcher := fopen realpath stat access execv
WRAPPED_webhook := clock_unix_ms

build/fuzz/%.o: %.c
	@mkdir -p $(@D)
	$(call quiet,FUZZ-CC,$@) $(CCACHE) $(FUZZ_CC) $(CPPFLAGS_ALL) $(FUZZ_CFLAGS) -MMD -MP -c $< -o $@

build/fuzz/status/page.o: $(EMBEDDED)
build/fuzz/closeapi/subscriptions.o: $(EVENT_TYPES)

build/fuzz/program.a: $(FUZZ_PROGRAM:%.c=build/fuzz/%.o)
	@rm -f $@
	$(call quiet,AR,$@) ar rcs $@ $^

build/fuzz/run/%: build/fuzz/fuzz/%.o $(FUZZ_RIG:%.c=build/fuzz/%.o) build/fuzz/program.a
	@mkdir -p $(@D)
	$(call quiet,LINK,$@) $(FUZZ_CC) -pthread -fsanitize=fuzzer,address,undefined $(WRAPPED_$*:%=-Wl,--wrap=%) $^ $(LIBS) $(TEST_LIBS) $(call pkg,--libs,$(LOADED)) -o $@

-include $(patsubst %.c,build/fuzz/%.d,$(FUZZ_PROGRAM) $(FUZZ_RIG) $(wildcard fuzz/*.c))

# ---- using it ----------------------------------------------------------------------------------------------------
# What the packages bring is only there once they are installed: the building is therefore a make of its own.
JOBS = $(shell nproc)
parallel = $(MAKE) $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS)) --no-print-directory

setup-run setup-test setup-check setup-bench setup-browser setup-fuzz:
	@packaging/install-packages $(@:setup-%=%)

run: setup-run ## install what is missing, build, and serve http://127.0.0.1:8080/closecrm (PORT=...) until Ctrl-C
	@$(parallel) closecrm.fcgi
	@PORT=$(PORT) exec packaging/run

# The samples name the program under /usr: what is installed names it where it is.
LIB := $(PREFIX)/lib/closecrm
DOC := $(PREFIX)/share/doc/closecrm.fcgi
MAN := $(PREFIX)/share/man

manual: $(PAGES) ## make the manual pages

# Where systemd looks by itself; UNITS= leaves them out (the Debian package brings them in its own way).
UNITS := closecrm.socket closecrm.service closecrm-cron.service closecrm-cron.timer
COMPLETIONS := $(PREFIX)/share/bash-completion/completions

install: all manual ## install program, samples, README, systemd units under PREFIX (/usr/local), DESTDIR in front
	install -d $(DESTDIR)$(LIB) $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(DOC)
	install -m 755 closecrm.fcgi $(DESTDIR)$(LIB)/closecrm.fcgi
	ln -sf ../lib/closecrm/closecrm.fcgi $(DESTDIR)$(PREFIX)/bin/closecrm.fcgi
	install -m 644 README.md CHANGELOG.md LICENSE $(DESTDIR)$(DOC)
	install -d $(DESTDIR)$(MAN)/man8 $(DESTDIR)$(MAN)/man5
	sed 's|/usr/lib/closecrm/|$(LIB)/|g; s|/usr/share/doc/closecrm.fcgi|$(DOC)|g' build/manual/closecrm.fcgi.8 >$(DESTDIR)$(MAN)/man8/closecrm.fcgi.8
	sed 's|/usr/share/doc/closecrm.fcgi|$(DOC)|g' build/manual/closecrm.conf.5 >$(DESTDIR)$(MAN)/man5/closecrm.conf.5
	chmod 644 $(DESTDIR)$(MAN)/man8/closecrm.fcgi.8 $(DESTDIR)$(MAN)/man5/closecrm.conf.5
	install -d $(DESTDIR)$(COMPLETIONS)
	./closecrm.fcgi completion >$(DESTDIR)$(COMPLETIONS)/closecrm.fcgi
	chmod 644 $(DESTDIR)$(COMPLETIONS)/closecrm.fcgi
	install -d $(DESTDIR)$(DOC)/docs
	install -m 644 docs/*.md $(DESTDIR)$(DOC)/docs
	install -D -m 644 status/page.png $(DESTDIR)$(DOC)/status/page.png
	set -e; for sample in $(SAMPLES); do \
	    install -d "$(DESTDIR)$(DOC)/$$(dirname "$$sample")"; \
	    sed 's|/usr/lib/closecrm/|$(LIB)/|g' "$$sample" >"$(DESTDIR)$(DOC)/$$sample"; \
	    chmod 644 "$(DESTDIR)$(DOC)/$$sample"; \
	done
	set -e; for unit in $(UNITS); do \
	    install -d "$(DESTDIR)$(PREFIX)/lib/systemd/system"; \
	    sed 's|/usr/lib/closecrm/|$(LIB)/|g' "packaging/systemd/$$unit" >"$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit"; \
	    chmod 644 "$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit"; \
	done
	@[ -z "$(UNITS)" ] || packaging/after-install $(DOC)

uninstall: ## remove what install put there
	rm -f $(UNITS:%=$(DESTDIR)$(PREFIX)/lib/systemd/system/%) $(DESTDIR)$(COMPLETIONS)/closecrm.fcgi
	rm -f $(DESTDIR)$(PREFIX)/bin/closecrm.fcgi
	rm -f $(DESTDIR)$(MAN)/man8/closecrm.fcgi.8 $(DESTDIR)$(MAN)/man5/closecrm.conf.5
	rm -rf $(DESTDIR)$(LIB) $(DESTDIR)$(DOC)

# ---- for machines that do not compile ----------------------------------------------------------------------------
BUNDLE := build/closecrm-$(VERSION)-linux-x86_64.tar.gz

bundle: setup-run ## make build/closecrm-VERSION-linux-x86_64.tar.gz, for shared hosting
	@$(parallel) $(BUNDLE)

$(BUNDLE): build/release/closecrm.fcgi build/release/loaded.so build/bundle/launcher $(wildcard packaging/bundle/*) config/closecrm.conf
	$(call quiet,BUNDLE,$@) packaging/bundle/make-bundle $(VERSION) build/release/closecrm.fcgi build/release/loaded.so \
	    build/bundle/launcher $@

build/bundle/launcher: packaging/bundle/launcher.c Makefile
	@mkdir -p $(@D)
	$(call quiet,LINK,$@) $(CC) -static -O2 $(CPPFLAGS_ALL) $(CFLAGS_ALL) $< -o $@

deb: ## make the Debian package build/deb/closecrm.fcgi_VERSION_ARCHITECTURE.deb
	@packaging/install-packages deb
	packaging/debian/build $(VERSION) build/deb

# Root only, for it builds in chroots of Debian 12 and 13 (build/chroots), where the packages are to run.
release: ## make all that is given away, twice and with the same bytes, in build/dist, with SHA256SUMS (root only)
	@packaging/install-packages packages
	tests/packages/run release

# ---- testing it --------------------------------------------------------------------------------------------------
# SUITES="transform queue" runs those suites only, SUITES=unit/ those of that layer: tests/main.c has more. The system
# tests start the program that CLOSECRM_PROGRAM names: the one of the same variant, so that its faults are found under
# real servers too.
SUITES :=
REPORTS = $(CURDIR)/build/$@/reports

# Where the kernel places things too randomly for the compiler's ThreadSanitizer, it needs fixed addresses.
FIXED_ADDRESSES = $(shell setarch -R true 2>/dev/null && echo setarch -R)

# What the sanitizers leave out when no SUITES are named, and where the same code of the program is run with them instead:
#   servers, admin_servers  every sample of a web server's configuration passes the same requests: they test the samples,
#                           and `make test` runs them. The same requests meet a sanitized program in http, status, and
#                           behind lighttpd, Apache and mod_fcgid in delivery, lifecycle and status_servers.
#   tsan: unit/             no suite there starts a thread (tests/check-includes sees to it), so there is no race to
#                           find; AddressSanitizer runs them.
#   tsan: forwarder crash   it forwards in forked children, in which ThreadSanitizer allows no threads; the other
#                           suites of the forwarder run its threads in the test's process
#   tsan: model             its queues are in such children too; the other suites of the queue are not
LEFT_OUT_asan := '-servers$$' '-admin_servers$$'
LEFT_OUT_tsan := $(LEFT_OUT_asan) '-unit/' '-forwarder crash$$' '-model$$'

# Runs one variant's tests. What the sanitizer finds in a program that a web server started stands in a report file, and
# any of those is a failure; the web servers run as other users, so that all may write there. LeakSanitizer says that it
# could not look at a thread, and nothing else, when a test kills the program while it ends: that is no finding.
KILLED_AT_THE_END := Unable to get registers from thread
define run_variant
	@rm -rf $(REPORTS) && mkdir -p $(REPORTS) && chmod 1777 $(REPORTS)
	@failed=; \
	CLOSECRM_PROGRAM=$(CURDIR)/build/$@/closecrm.fcgi $(1) build/$@/tests/all $(or $(SUITES),$(LEFT_OUT_$@)) || failed=yes; \
	if grep -rqv '$(KILLED_AT_THE_END)' $(REPORTS); then cat $(REPORTS)/*; echo "$@: the program has faults, see above"; failed=yes; fi; \
	[ -z "$$failed" ]
endef

test: setup-test ## install what is missing, build, run all tests (SUITES="transform queue", "unit/": some)
	@$(parallel) build-test
	CLOSECRM_PROGRAM=$(CURDIR)/build/release/closecrm.fcgi build/release/tests/all $(SUITES)

asan: setup-test ## the tests with AddressSanitizer and UndefinedBehaviorSanitizer
	@$(parallel) build-asan
	$(call run_variant,)

tsan: setup-test ## the tests with ThreadSanitizer
	@$(parallel) build-tsan
	$(call run_variant,$(FIXED_ADDRESSES))

# What .ci/run has made while other tests run.
build-test: closecrm.fcgi build/release/tests/all build/release/standin
build-asan: build/asan/closecrm.fcgi build/asan/tests/all
build-tsan: build/tsan/closecrm.fcgi build/tsan/tests/all
build-packages: closecrm.fcgi build/release/standin $(BUNDLE) $(PAGES)

# File systems of their own kinds, mounted from images: full disks and quotas, with two processes on one queue.
test-hosts: setup-test ## the queue on real full disks and quotas: ext4, xfs, btrfs (root only)
	@[ "$$(id -u)" = 0 ] || { echo "make test-hosts: only root can mount file systems" >&2; exit 1; }
	@packaging/install-packages hosts
	@$(parallel) closecrm.fcgi build/release/tests/all
	CLOSECRM_PROGRAM=$(CURDIR)/build/release/closecrm.fcgi build/release/tests/all file_systems

# Under valgrind only what runs in the test program itself: it makes programs some thirty times slower, and the system
# tests are about real servers' time-outs. http/'s tests execute the test program anew, which would be valgrind itself.
VALGRIND_SUITES := webhook queue transform forward closeapi life commands watch config log counters recent alerts status_tools health

# ROUNDS=500: how many for each way of running the program. CLOSECRM_STORM_SETUP=TEXT: only those whose name has the text
# (spawn, fastcgi, fcgid). CLOSECRM_TEST_KEEP=1: the state and the logs stay, as in every suite.
test-storm: setup-test ## kills, faults, a quota, outside looks: everything at once under load, ROUNDS (500) times
	@$(parallel) closecrm.fcgi build/release/tests/all
	CLOSECRM_PROGRAM=$(CURDIR)/build/release/closecrm.fcgi CLOSECRM_STORM_ROUNDS=$(or $(ROUNDS),500) build/release/tests/all storm

# OPERATION=accept, CALL=write: those only; NTH=17: that call only; STEP=3: of the calls every third only, and with each
# error from another one on; MEMORY=30: the same of allocations. BEFORE_PROGRAM=PATH: the release before, to upgrade from.
test-faults: setup-test ## every call of the program fails once, with each error, or is its last: OPERATION, CALL, STEP
	@$(parallel) closecrm.fcgi build/release/tests/all
	CLOSECRM_PROGRAM=$(CURDIR)/build/release/closecrm.fcgi CLOSECRM_FAULTS=all CLOSECRM_FAULTS_OPERATION=$(OPERATION) \
	    CLOSECRM_FAULTS_CALL=$(CALL) CLOSECRM_FAULTS_NTH=$(NTH) CLOSECRM_FAULTS_STEP=$(STEP) \
	    CLOSECRM_FAULTS_MEMORY=$(MEMORY) CLOSECRM_BEFORE=$(BEFORE_PROGRAM) build/release/tests/all 'faults$$'

# STEPS=10000000: how many for each journal mode. SEED=N: the seed that a run has printed. LIST=FILE: the list of steps
# that a run has printed, tried again.
test-model: setup-test ## random calls of the queue beside a model of it, STEPS (1000000) of them, and kills in between
	@$(parallel) build/release/tests/all
	CLOSECRM_MODEL_STEPS=$(or $(STEPS),1000000) CLOSECRM_MODEL_SEED=$(SEED) CLOSECRM_MODEL_LIST=$(LIST) build/release/tests/all model$$

# Real clients come from their registries, in the versions that tests/clients names, into a directory that is removed.
test-clients: ## our stand-ins for Close and the data plane held against real clients of theirs (needs the network)
	@packaging/install-packages clients
	@$(parallel) closecrm.fcgi build/release/standin
	tests/clients/run

# Another commit's program; it stands under build/before, for the next time.
define build_before
	@mkdir -p build/before/$(BEFORE) && git archive $(BEFORE) | tar -x -C build/before/$(BEFORE)
	@$(MAKE) --no-print-directory -C build/before/$(BEFORE) closecrm.fcgi
endef

test-upgrade: setup-test ## another release's state directory is taken on under load and given back: BEFORE=COMMIT
	@[ -n "$(BEFORE)" ] || { echo "test-upgrade: name the release before: make test-upgrade BEFORE=COMMIT"; exit 2; }
	$(call build_before)
	@$(parallel) closecrm.fcgi build/release/tests/all
	CLOSECRM_PROGRAM=$(CURDIR)/build/release/closecrm.fcgi \
	    CLOSECRM_BEFORE=$(CURDIR)/build/before/$(BEFORE)/closecrm.fcgi build/release/tests/all upgrade

# A guest by QEMU, with KVM where a stock kernel runs under it. CUTS=50: how many; ONLY="ext4 wal": some ways; SEED=N.
test-power: ## cut the power of a guest under load at random, CUTS (50) times: ext4, xfs, btrfs (root only)
	@[ "$$(id -u)" = 0 ] || { echo "make test-power: only root can make the guest's root file system" >&2; exit 1; }
	@packaging/install-packages power
	@$(parallel) closecrm.fcgi
	CLOSECRM_PROGRAM=$(or $(CLOSECRM_PROGRAM),$(CURDIR)/build/release/closecrm.fcgi) CUTS=$(CUTS) SEED=$(SEED) ONLY="$(ONLY)" \
	    PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 tests/power/run.py

# CUTS=2: so many faults of each kind; CUTS="primary=3 web=1": only these; SEED=N; KEEP=1: the logs stay.
test-failover: ## three machines with Patroni, three with the program, under load: machines die one after the other (root only)
	@[ "$$(id -u)" = 0 ] || { echo "make test-failover: only root can make networks" >&2; exit 1; }
	@packaging/install-packages failover
	@$(parallel) closecrm.fcgi
	CLOSECRM_PROGRAM=$(or $(CLOSECRM_PROGRAM),$(CURDIR)/build/release/closecrm.fcgi) CUTS="$(CUTS)" SEED=$(SEED) KEEP=$(KEEP) \
	    PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 tests/failover/run.py

# DIST=trixie: only that Debian; PARTS="harden reload": only some of what can be left out; DEB=FILE: another package than
# this tree's. Emulated (without KVM for a stock kernel), it takes some ten minutes for each on a machine with nothing else to do.
test-systemd: ## the Debian package in a booted guest of Debian 12 and 13, behind nginx: DIST, PARTS (root only)
	@[ "$$(id -u)" = 0 ] || { echo "make test-systemd: only root can make the guest's root file system" >&2; exit 1; }
	@packaging/install-packages systemd
	DIST="$(DIST)" PARTS="$(PARTS)" DEB="$(DEB)" PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 tests/systemd/run.py

test-browser: setup-browser ## drive the status page in headless Chromium, and have Prometheus scrape the metrics
	@$(parallel) closecrm.fcgi
	CLOSECRM_PROGRAM=$(CURDIR)/build/release/closecrm.fcgi PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 tests/browser/run.py
	CLOSECRM_PROGRAM=$(CURDIR)/build/release/closecrm.fcgi PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 tests/browser/scrape.py

# FUZZER="transform config": these only. SECONDS=3600: how long each. What is found stays in build/fuzz/found, what has
# been learnt in build/fuzz/corpus, for the next time.
fuzz: setup-fuzz ## fuzz the readers of what comes from outside, SECONDS (60) each (FUZZER="transform": some)
	@$(parallel) build-fuzz
	@fuzz/run $(or $(SECONDS),60) $(or $(FUZZER),$(FUZZERS))

# What .ci/run does: each corpus again, judged, and some seconds of each fuzzer, which begin the same way each time: what is
# new is for `make fuzz` to find, not for whoever changes something else.
fuzz-short: setup-fuzz
	@$(parallel) build-fuzz
	@FUZZ_SEED=1 fuzz/run $(or $(SECONDS),3) $(or $(FUZZER),$(FUZZERS))

build-fuzz: $(patsubst %,build/fuzz/run/%,$(or $(FUZZER),$(FUZZERS)))

valgrind: setup-test ## the unit tests under valgrind
	@packaging/install-packages valgrind
	@$(parallel) build/valgrind/tests/all
	valgrind --quiet --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite --error-exitcode=1 \
	    build/valgrind/tests/all $(or $(SUITES),$(VALGRIND_SUITES))

# The chroots stay under build/chroots, for the next time.
test-packages: ## bundle, Debian package, samples and three new users in chroots of Debian 11 to 13, unit tests on 13 (root only)
	@packaging/install-packages packages
	@$(parallel) build-packages
	tests/packages/run

test-trixie: ## compile on Debian 13, with its compiler and libraries, and run the unit tests there (root only)
	@packaging/install-packages packages
	tests/packages/run unit-trixie

prepare-chroots:
	@packaging/install-packages packages
	tests/packages/run prepare

# The last commit before accepting was made faster: PostgreSQL's rate is measured beside that, too. Built once.
BEFORE_SPEED := 87e0be64
PROGRAM_BEFORE_SPEED := build/before/$(BEFORE_SPEED)/closecrm.fcgi

$(PROGRAM_BEFORE_SPEED):
	@mkdir -p $(@D) && git archive $(BEFORE_SPEED) | tar -x -C $(@D)
	@$(parallel) -C $(@D) closecrm.fcgi

# LONG=1: also what two million events that wait, or are remembered, change. ROUNDS=5: more runs, steadier medians.
# STATES=/mnt: state directories on another disk. ONLY=postgresql: what is measured with that alone.
bench: setup-bench ## measure the speed beside rivals in the same run: a table, build/bench/speed.svg; nothing is judged
	@$(parallel) closecrm.fcgi $(BENCH_PROGRAMS:%=build/release/%)
	@[ "$(ONLY)" = sqlite ] || ! git cat-file -e $(BEFORE_SPEED) 2>/dev/null || $(MAKE) --no-print-directory $(PROGRAM_BEFORE_SPEED)
	@[ "$(ONLY)" = postgresql ] || build/release/bench/transform
	@LONG=$(LONG) ROUNDS=$(or $(ROUNDS),3) STATES=$(STATES) ONLY="$(ONLY)" BEFORE_SPEED=$(CURDIR)/$(PROGRAM_BEFORE_SPEED) bench/run

paths: setup-bench ## through how many files a webhook, an event, a page of the Event Log pass; fails when they are too many
	@$(parallel) build/trace/closecrm.fcgi
	@bench/paths/paths.py

bench-compare: setup-bench ## measure accepting beside another commit's program, in turn: BEFORE=COMMIT, ROUNDS (9)
	@[ -n "$(BEFORE)" ] || { echo "bench-compare: name the other commit: make bench-compare BEFORE=COMMIT"; exit 2; }
	$(call build_before)
	@$(parallel) closecrm.fcgi $(BENCH_PROGRAMS:%=build/release/%)
	@BEFORE=$(CURDIR)/build/before/$(BEFORE)/closecrm.fcgi ROUNDS=$(or $(ROUNDS),9) STATES=$(STATES) bench/compare

soak: setup-bench ## hours of mixed load with a data plane that comes and goes: HOURS (6), RATE; fails when something is lost or grows
	@$(parallel) closecrm.fcgi
	@HOURS=$(HOURS) RATE=$(RATE) SEED=$(SEED) bench/soak

check: setup-check ## cppcheck, clang-tidy, the format, the includes' directions, the manual pages: a warning is a failure
	@$(parallel) --keep-going check-all

check-all: check-format check-includes check-manual check-cppcheck $(ALL_C:%.c=build/check/%.tidy)

check-includes:
	tests/check-includes

check-manual: $(PAGES)
	packaging/manual/lint $(PAGES)

check-format:
	clang-format --dry-run --Werror $(ALL_C) $(ALL_H)

check-cppcheck: $(EVENT_TYPES) $(EMBEDDED)
	cppcheck --quiet -j$(JOBS) --std=c11 --enable=warning,style,performance,portability --inline-suppr \
	    --suppressions-list=.cppcheck-suppressions --suppress=unmatchedSuppression \
	    --error-exitcode=1 -D_GNU_SOURCE -D__STDC_VERSION__=201112L -I. $(ALL_C)

# How many steps clang's analyzer goes into each function. With its default, 225000, it takes three times as long, and the
# check is the longest of all in .ci/run; a scan over characters takes any number. `make check TIDY_STEPS=225000`, after
# `make clean`, before a release.
TIDY_STEPS := 75000

build/check/%.tidy: %.c $(ALL_H) $(EVENT_TYPES) $(EMBEDDED) .clang-tidy tests/.clang-tidy
	@mkdir -p $(@D)
	@echo "  TIDY $<"
	@clang-tidy --quiet --warnings-as-errors='*' $< -- -std=c11 $(CPPFLAGS_ALL) $(if $(SECCOMP),-DCLOSECRM_SECCOMP) -DREPORTS='""' \
	    -Xclang -analyzer-config -Xclang max-nodes=$(TIDY_STEPS) >$@.new 2>/dev/null \
	    || { cat $@.new; exit 1; }
	@mv $@.new $@

format: setup-check ## put all C files into the one format
	clang-format -i $(ALL_C) $(ALL_H)

# ---- the rest ----------------------------------------------------------------------------------------------------
clean: ## remove what was built
	rm -rf build closecrm.fcgi

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | while IFS="$$(printf '\t')" read -r target text; do \
	    printf 'make %-13s %s\n' "$$target" "$$text"; done
