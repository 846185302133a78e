#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# "Requires: foo>=1.0" in a spec file, without blanks around the sign, is no version of foo: rpm
# takes all of it for a package's name, which no package has, and says nothing when the package is
# made. So it can be built, and not be installed. debian/control wants no blanks for the same.
. "$(dirname "$0")/lib.sh"
get_all rpm=4.18.0+dfsg-1+deb12u1
guess "it is read as with blanks, or refused when the spec file is read"

spec() {
    in_root usr/bin/rpmspec --rcfile="$R/usr/lib/rpm/rpmrc" -q "$@" "$T/a.spec"
}

cat >"$T/a.spec" <<'EOF'
Name: a
Version: 1
Release: 1
Summary: a
License: a
BuildArch: noarch
Requires: foo>=1.0
Requires: bar >= 1.0
%description
%files
EOF
saw "exit status" "$(status_of spec --requires)" 0
saw "messages" "$(grep -c . "$T/err" || :)" 0
spec --qf '[%{REQUIRENAME} version=%{REQUIREVERSION}\n]' >"$T/out"
saw "with blanks" "$(grep bar "$T/out")" "bar version=1.0"
saw "without" "$(grep foo "$T/out")" "foo>=1.0 version="
end
