#!/bin/sh
# The consensus core must stay pure: its object files may need each other, memory
# and string functions, and what assert() needs; no clock, no I/O, no allocation,
# and nothing of PostgreSQL.
set -eu

cd "$(dirname "$0")"
source_dir=../../src
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT

for file in "$source_dir"/consensus/*.c
do
	"${CC:-cc}" -std=c99 -O0 -fno-stack-protector -I"$source_dir" \
		-c "$file" -o "$objects/$(basename "$file" .c).o"
done
ld -r -o "$objects/core.all" "$objects"/*.o
needed=$(nm --undefined-only "$objects/core.all" | awk '{print $NF}' |
	grep -v -x -E 'mem(set|cpy|move|cmp)|str(len|cmp)|__assert_fail|_GLOBAL_OFFSET_TABLE_' || true)
included=$(grep -h '^#include <' "$source_dir"/consensus/*.[ch] |
	grep -v -E '<(assert|stdbool|stddef|stdint|string)\.h>' || true)
if [ -n "$needed$included" ]
then
	echo "the consensus core is not pure:" $needed $included >&2
	exit 1
fi
