#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# `promtool test rules` says SUCCESS when nothing is tested: no rule file that the pattern matches,
# an empty list of tests, or an alert whose name is misspelt and that is expected not to fire.
# `check config` takes a rule file pattern without a match as well, but refuses a plain name without
# a file, which `test rules` doesn't.
. "$(dirname "$0")/lib.sh"
get prometheus=2.42.0+ds-5+deb12u1
cd "$T"
guess "a rule file or an alert that isn't there is an error"

cat >rules.yml <<'Y'
groups:
- name: g
  rules:
  - {alert: Down, expr: up == 0}
Y
series='input_series: [{series: up, values: "0x5"}]'
one='{eval_time: 5m, alertname: Down, exp_alerts: []}'
test_rules() {
    status_of "$R/usr/bin/promtool" test rules test.yml
}

printf 'rule_files: [rules.yml]\ntests:\n- %s\n  interval: 1m\n  alert_rule_test: [%s]\n' \
    "$series" "$one" >test.yml
saw "alert fires, not expected" "$(test_rules)" 1
sed 's/Down/Dwon/' test.yml >wrong.yml && mv wrong.yml test.yml
saw "alert's name misspelt" "$(test_rules)" 0
saw "its word" "$(grep -o SUCCESS out)" SUCCESS
sed 's/rules.yml/nosuch.yml/; s/Dwon/Down/' test.yml >wrong.yml && mv wrong.yml test.yml
saw "no such rule file" "$(test_rules)" 0
printf 'rule_files: [rules.yml]\ntests: []\n' >test.yml
saw "no tests" "$(test_rules)" 0
printf 'rule_files: ["nosuch*.yml"]\n' >config.yml
saw "check config, pattern without match" \
    "$(status_of "$R/usr/bin/promtool" check config config.yml)" 0
printf 'rule_files: ["nosuch.yml"]\n' >config.yml
saw "check config, no such file" "$(status_of "$R/usr/bin/promtool" check config config.yml)" 1
end
