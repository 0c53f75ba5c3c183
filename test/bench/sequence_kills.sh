#!/usr/bin/env bash
# 8 clients draw values of sequences and insert them while their primary's server is
# killed (kill -9 of all its processes), again and again: no value may come twice, and no
# row that a client was told of be lost.  The test is test/t/131_sequences.pl, with more
# rounds; what it has counted is printed at the end.
#
#     test/bench/sequence_kills.sh [ROUNDS]     default 20
set -u
report=$(mktemp)
trap 'rm -f "$report"' EXIT
chmod 666 "$report"   # servers and tests run as another user
status=0
BATON_SEQUENCE_ROUNDS=${1:-20} BATON_SEQUENCE_REPORT=$report \
  "$(dirname "$0")/../../scripts/check.sh" build tap/131_sequences || status=$?
cat "$report"
exit $status
