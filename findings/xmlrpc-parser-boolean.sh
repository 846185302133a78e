#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# xmlrpc-parser takes <boolean>1</boolean>, which is XML-RPC's "true" and what xapi sends, for
# false; only the word "true", which is no XML-RPC, is true. Numbers stay strings, an i8 is an empty
# string. A VM that is a template or has a flag set looks as if it were not.
. "$(dirname "$0")/lib.sh"
get_npm xmlrpc-parser@1.0.3
guess "1 is true; numbers are numbers"

cat >"$T/value.js" <<'C'
const { XmlRpcResponse } = require('xmlrpc-parser')
const text = '<?xml version="1.0"?><methodResponse><params><param>' +
  `<value>${process.argv[2]}</value></param></params></methodResponse>`
new XmlRpcResponse().parse(text).then(({ params }) => console.log(JSON.stringify(params[0])))
C
value() {
    node "$T/value.js" "$1"
}
saw "boolean 1" "$(value '<boolean>1</boolean>')" false
saw "boolean 0" "$(value '<boolean>0</boolean>')" false
saw "boolean true" "$(value '<boolean>true</boolean>')" true
saw "int 5" "$(value '<int>5</int>')" '"5"'
saw "double 1e3" "$(value '<double>1e3</double>')" '"1e3"'
saw "i8 5" "$(value '<i8>5</i8>')" '""'
end
