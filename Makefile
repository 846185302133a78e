# SPDX-License-Identifier: GPL-2.0-or-later
# The front door; meson and ninja do the work.  "make help" lists what there is.

BUILD ?= build
CLIENT_BUILD ?= build-client
PREFIX ?= /usr/local
DESTDIR ?=
MESON ?= meson
NINJA ?= ninja
DB ?= /etc/vgpu/vgpu_config.db
MESONFLAGS ?=
ARGS ?=

.PHONY: all client demo-programs check install uninstall packages migrate bench gpu-bundle clean help

all: $(BUILD)/build.ninja
	$(NINJA) -C $(BUILD)

$(BUILD)/build.ninja:
	@command -v $(MESON) >/dev/null || { echo "meson is missing: run scripts/setup" >&2; exit 1; }
	$(MESON) setup --prefix=$(PREFIX) $(MESONFLAGS) $(BUILD)

# Only what scripts/demo starts.
demo-programs: $(BUILD)/build.ninja
	$(NINJA) -C $(BUILD) bin/vgpu-mediator bin/vgpu-keeper bin/vgpu-worker bin/vgpu-client \
	    guest/client/vgpu-client-static

# Only libvgpu and vgpu-client: gcc, libc6-dev, meson and ninja are enough.
client: $(CLIENT_BUILD)/build.ninja
	$(NINJA) -C $(CLIENT_BUILD)
	@mkdir -p $(BUILD)/bin
	@test -e $(BUILD)/build.ninja || install -m 755 $(CLIENT_BUILD)/bin/vgpu-client $(BUILD)/bin/
	@test ! -e $(BUILD)/build.ninja || $(NINJA) -C $(BUILD) bin/vgpu-client
	@echo "built $(BUILD)/bin/vgpu-client"

$(CLIENT_BUILD)/build.ninja:
	@command -v $(MESON) >/dev/null || { echo "meson is missing: run scripts/setup --client" >&2; exit 1; }
	$(MESON) setup --prefix=$(PREFIX) -Dclient_only=true $(MESONFLAGS) $(CLIENT_BUILD)

check:
	scripts/check $(ARGS)

# The device for the distribution's QEMU, if qemu/build-module.sh has made it.
MODULE_FILES = vgpu-stub.so vgpu-preload.so qemu-version
MODULE_DIR = $(DESTDIR)$(PREFIX)/lib/vgpu-mediator/qemu

install: all
	$(MESON) configure $(BUILD) --prefix=$(PREFIX)
	DESTDIR=$(DESTDIR) $(MESON) install -C $(BUILD)
	install -D -m 755 qemu/vgpu-qemu $(DESTDIR)$(PREFIX)/bin/vgpu-qemu
	@for file in $(MODULE_FILES); do \
	    test ! -e $(BUILD)/qemu/$$file || \
	    install -D -m 644 $(BUILD)/qemu/$$file $(MODULE_DIR)/$$file; \
	done
# Else a program that is linked with libvgpu does not find it.
	@test -n "$(DESTDIR)" || test "$$(id -u)" != 0 || ldconfig

# What "make install" with the same PREFIX and DESTDIR put there last, and folders that are empty
# then.  The database and the logs stay.
uninstall:
	@test -e $(BUILD)/meson-logs/install-log.txt || \
	    { echo "nothing was installed from $(BUILD)" >&2; exit 1; }
	$(NINJA) -C $(BUILD) uninstall
	rm -f $(DESTDIR)$(PREFIX)/bin/vgpu-qemu $(addprefix $(MODULE_DIR)/,$(MODULE_FILES))
	@for folder in lib/vgpu-mediator/qemu lib/vgpu-mediator lib/vgpu share/vgpu/schema \
	    share/vgpu/dashboards share/vgpu include/vgpu; do \
	    rmdir $(DESTDIR)$(PREFIX)/$$folder 2>/dev/null || :; \
	done
	@rmdir $(DESTDIR)/etc/vgpu 2>/dev/null || :
	@test -n "$(DESTDIR)" || test "$$(id -u)" != 0 || ldconfig

# Debian packages, in build/packages.
packages:
	scripts/build-packages

migrate: all
	$(BUILD)/bin/vgpu-admin --db $(DB) migrate

bench: all
	$(NINJA) -C $(BUILD) benchmark

# A folder to copy to a host that has an NVIDIA GPU and nothing to build with.
gpu-bundle: all
	@test -x scripts/gpu-bundle || { echo "scripts/gpu-bundle is not in this tree" >&2; exit 1; }
	scripts/gpu-bundle $(BUILD)

clean:
	rm -rf $(BUILD) $(CLIENT_BUILD) build-asan build-fuzz

help:
	@echo 'make                 build everything; the programs are in $(BUILD)/bin/'
	@echo 'make client          build only vgpu-client and libvgpu: no SQLite, no GPU package'
	@echo 'make check           all tests; ARGS="--suite unit" runs one suite'
	@echo 'make install         to PREFIX=$(PREFIX), below DESTDIR if set'
	@echo 'make uninstall       take that away again; the database stays'
	@echo 'make packages        Debian packages, in build/packages/'
	@echo 'make migrate         upgrade an older database, DB=$(DB)'
	@echo 'make bench           measurements'
	@echo 'make gpu-bundle      what a test on an NVIDIA host needs, in one folder'
	@echo 'make clean           remove the build folders'
	@echo
	@echo 'Packages: scripts/setup.  Try it: scripts/demo.'
