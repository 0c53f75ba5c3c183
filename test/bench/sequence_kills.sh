#!/usr/bin/env bash
# 8 clients draw values of sequences and insert them while their primary is killed,
# again and again: no value may come twice.
#
#     test/bench/sequence_kills.sh [ROUNDS]     default 20
BATON_SEQUENCE_ROUNDS=${1:-20} exec "$(dirname "$0")/../../scripts/check.sh" build tap/131_sequences
