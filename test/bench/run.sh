#!/usr/bin/env bash
# All figures that this folder can measure without other systems.
here=$(dirname "$0")
status=0
for bench in failover_gap idle hooks_idle bigtx sync_commit; do
  echo "== $bench"
  "$here/$bench.sh" || status=1
done
exit $status
