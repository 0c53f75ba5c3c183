# shellcheck shell=bash
# shellcheck disable=SC2034
# Adapter for the replication bench (a harness that runs the same work on several
# systems): run it with EXTRA_SYSTEMS naming this folder and SYSTEMS="logical baton".
SYS_REPLICA=yes
SYS_SYNC_MODES=
SYS_MEM_RE='baton'
sys_conf() {
  echo "shared_preload_libraries = 'baton'"
  echo "max_worker_processes = 32"
}
sys_prepare() { node_create r empty; }
baton_state_p() { on_p -c "select state = 'primary' from baton.status"; }
baton_state_r() { on_r -c "select state = 'replica' from baton.status"; }
baton_detached_r() { on_r -c "select state = 'detached' from baton.status"; }
sys_setup() {
  on_p -c "create extension baton" -c "select baton.create_group('bench', 'p', '$P_DSN')" >/dev/null
  wait_for 60 baton_state_p
  on_r -c "create extension baton" -c "select baton.join_group('$P_DSN', 'r', '$R_DSN')" >/dev/null
  wait_for 600 baton_state_r
}
sys_pause() {
  sys_catchup
  on_r -c "select baton.stop()" >/dev/null
  wait_for 60 baton_detached_r
}
sys_resume() { on_r -c "select baton.start()" >/dev/null; }
sys_sync() { :; }
