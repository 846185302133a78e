#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# OnCalendar= of a timer takes days that no calendar has, such as 30 February, and a weekday that
# its date isn't: both are valid, "systemd-analyze calendar" ends with 0, and the timer never
# elapses. An hour that no day has is refused.
. "$(dirname "$0")/lib.sh"
get_all systemd=252.39-1~deb12u2
guess "an error, as for 24:00"

LIBS=$LIBS:$R/lib/x86_64-linux-gnu/systemd:$LIB/systemd
calendar() {
    in_root usr/bin/systemd-analyze calendar "$1"
}
elapse() {
    calendar "$1" | sed -n 's/.*Next elapse: //p'
}

saw "24:00" "$(status_of calendar '24:00')" 1
saw "30 February" "$(status_of calendar '*-02-30')" 0
saw "it elapses" "$(elapse '*-02-30')" never
saw "31 June" "$(status_of calendar '*-06-31') $(elapse '*-06-31')" "0 never"
saw "32 June" "$(status_of calendar '*-06-32')" 1
saw "a Friday that is a Saturday" "$(elapse 'Fri 2040-11-24')" never
end
