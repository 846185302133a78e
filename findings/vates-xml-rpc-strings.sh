#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# @vates/xml-rpc, with which Xen Orchestra speaks XML-RPC to xapi, changes strings: an empty
# <string> is undefined, spaces at both ends are cut off, and what stands in CDATA is lost. Without
# the element <string>, which is the default type, an empty value is an empty string. So a name or
# an other-config value that is read and written back may be another one.
. "$(dirname "$0")/lib.sh"
get_npm @vates/xml-rpc@1.0.0 @vates/xml@2.0.0
guess "the text between the tags"

cat >"$T/value.mjs" <<'C'
import { parseXml } from '@vates/xml/parse'
import { xmlRpcParser } from '@vates/xml-rpc/parser'
const text = '<?xml version="1.0"?><methodResponse><params><param>' +
  `<value>${process.argv[2]}</value></param></params></methodResponse>`
const [value] = xmlRpcParser.parse_methodResponse(parseXml(text)).params
console.log(value === undefined ? 'undefined' : JSON.stringify(value))
C
value() {
    node "$T/value.mjs" "$1"
}
saw "<string></string>" "$(value '<string></string>')" undefined
saw "nothing" "$(value '')" '""'
saw "<string> a </string>" "$(value '<string> a </string>')" '"a"'
saw "a, and <b> in CDATA" "$(value '<string>a<![CDATA[<b>]]></string>')" '"a"'
saw "a&amp;b" "$(value '<string>a&amp;b</string>')" '"a&b"'
end
