#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Two files in node_exporter's textfile folder have series of one metric, one file for each VM. If
# their HELP or TYPE lines differ by a word, the second file's series are lost: the page is sent
# with status 200, and node_textfile_scrape_error, on which the alerts are, is 0. Only a counter
# about the handler tells. A file without a line end after its last sample is lost whole, and there
# node_textfile_scrape_error is 1.
. "$(dirname "$0")/lib.sh"
need curl
get_all prometheus-node-exporter=1.5.0-1+b6
guess "both files' series are there, or node_textfile_scrape_error is 1"

mkdir "$T/files"
PORT=$((20000 + $$ % 20000))
"$R/lib64/ld-linux-x86-64.so.2" --library-path "$LIBS" "$R/usr/bin/prometheus-node-exporter" \
    --collector.disable-defaults --collector.textfile --web.listen-address=127.0.0.1:$PORT \
    --collector.textfile.directory="$T/files" >"$T/log" 2>&1 &
trap "kill $! 2>/dev/null; rm -rf '$T'" EXIT

page() {
    curl -s --retry 50 --retry-connrefused --retry-delay 1 -w 'status %{http_code}\n' \
        "http://127.0.0.1:$PORT/metrics" >"$T/page"
}

# samples NAME: those lines of the page, in one line.
samples() {
    grep "^$1" "$T/page" | tr '\n' ' '
}

printf '# HELP vm_gpu GPU time\nvm_gpu{vm="1"} 5\n' >"$T/files/1.prom"
printf '# HELP vm_gpu GPU time\nvm_gpu{vm="2"} 7\n' >"$T/files/2.prom"
page
saw "with one text" "$(samples vm_gpu)" 'vm_gpu{vm="1"} 5 vm_gpu{vm="2"} 7 '
saw "gathering errors" "$(samples 'promhttp.*gathering')" \
    'promhttp_metric_handler_errors_total{cause="gathering"} 0 '
printf '# HELP vm_gpu GPU time.\nvm_gpu{vm="2"} 7\n' >"$T/files/2.prom"
page
saw "with a full stop more" "$(samples vm_gpu)" 'vm_gpu{vm="1"} 5 '
saw "status" "$(samples status)" "status 200 "
saw "the collector's error" "$(samples node_textfile_scrape_error)" "node_textfile_scrape_error 0 "
page
saw "gathering errors, one page later" "$(samples 'promhttp.*gathering')" \
    'promhttp_metric_handler_errors_total{cause="gathering"} 1 '
printf '# TYPE vm_gpu gauge\nvm_gpu{vm="1"} 5\n' >"$T/files/1.prom"
printf '# TYPE vm_gpu counter\nvm_gpu{vm="2"} 7\n' >"$T/files/2.prom"
page
saw "with another type" "$(samples vm_gpu)" 'vm_gpu{vm="1"} 5 '
saw "the collector's error" "$(samples node_textfile_scrape_error)" "node_textfile_scrape_error 0 "
printf 'vm_gpu{vm="1"} 5\n' >"$T/files/1.prom"
printf 'vm_gpu{vm="2"} 7' >"$T/files/2.prom"
page
saw "without a last line end" "$(samples vm_gpu)" 'vm_gpu{vm="1"} 5 '
saw "the collector's error" "$(samples node_textfile_scrape_error)" "node_textfile_scrape_error 1 "
end
