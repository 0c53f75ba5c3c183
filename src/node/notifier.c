/*
 * notifier.c - the worker that runs baton.on_role_change.
 *
 * The coordinator puts each change of this node's state into a queue in shared
 * memory and goes on; this worker, which is there as long as the setting is, takes
 * them out one by one, in order, and runs the command for each, in the manner of
 * archive_command.  The shell leads a process group of its own, so that a command
 * which takes longer than baton.on_role_change_timeout is ended with all that it
 * has started.  A failure is logged, and the next change comes.
 *
 * A primary whose server stops has handed over, and that too is told: the worker
 * outlives SIGTERM until the coordinator ends it, which waits for the queue to be
 * empty, up to its own deadline (shutdown.c).
 *
 * If changes come faster than commands end, the oldest that wait are left out:
 * the last one is what counts.
 */
#include "baton.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "miscadmin.h"
#include "node/notifier.h"
#include "node/shutdown.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

/* Between SIGTERM and SIGKILL for a command that takes too long, in ms. */
#define KILL_GRACE_MS	3000
/* How often a notifier of a server that stops looks whether it may end, in ms. */
#define OUTLIVE_LOOK_MS	200
#define NAP_MS			10000
#define MAX_FDS			65536

PGDLLEXPORT void baton_notifier_main(Datum main_arg);

static pid_t command_pid = 0;	/* the shell that runs, and its process group */

/* ---- the queue ---- */

/*
 * leader: member that leads, 0 unknown.
 */
void
notifier_post(NodeShared *node, NodeState from, NodeState to, uint64 term, uint16 leader)
{
	RoleChange	change = {from, to, leader, term};

	if (baton_on_role_change == NULL || baton_on_role_change[0] == '\0')
		return;
	SpinLockAcquire(&node->mutex);
	if (node->n_role_changes == BATON_ROLE_CHANGES)
	{
		memmove(&node->role_changes[0], &node->role_changes[1],
				sizeof(RoleChange) * (BATON_ROLE_CHANGES - 1));
		node->n_role_changes--;
	}
	node->role_changes[node->n_role_changes++] = change;
	SpinLockRelease(&node->mutex);
	node_wake(node, WORKER_NOTIFIER);
}

bool
notifier_busy(NodeShared *node)
{
	bool		busy;

	SpinLockAcquire(&node->mutex);
	busy = node->worker_pid[WORKER_NOTIFIER] != 0 &&
		(node->n_role_changes > 0 || node->role_command_runs);
	SpinLockRelease(&node->mutex);
	return busy;
}

static bool
take_change(NodeShared *node, RoleChange *out)
{
	bool		got;

	SpinLockAcquire(&node->mutex);
	got = node->n_role_changes > 0;
	if (got)
	{
		*out = node->role_changes[0];
		node->n_role_changes--;
		memmove(&node->role_changes[0], &node->role_changes[1],
				sizeof(RoleChange) * node->n_role_changes);
	}
	node->role_command_runs = got;
	SpinLockRelease(&node->mutex);
	return got;
}

/* ---- the command ---- */

typedef struct ChangeWords
{
	RoleChange	change;
	char		node[BATON_NAME_LEN];
	char		group[BATON_NAME_LEN];
	char		leader[BATON_NAME_LEN];
	char		conninfo[BATON_CONNINFO_LEN];
	char		database[NAMEDATALEN];
	char		term[24];
} ChangeWords;

static void
find_words(NodeShared *node, const RoleChange *change, ChangeWords *w)
{
	Member	   *me;
	Member	   *leader;

	memset(w, 0, sizeof(*w));
	w->change = *change;
	snprintf(w->term, sizeof(w->term), UINT64_FORMAT, change->term);
	LWLockAcquire(&node->state_lock, LW_SHARED);
	me = membership_find(&node->membership, node->self);
	leader = membership_find(&node->membership, change->leader);
	strlcpy(w->node, me ? me->name : "", sizeof(w->node));
	strlcpy(w->leader, leader ? leader->name : "", sizeof(w->leader));
	strlcpy(w->conninfo, leader ? leader->conninfo : "", sizeof(w->conninfo));
	strlcpy(w->group, node->group_name, sizeof(w->group));
	strlcpy(w->database, node->dbname, sizeof(w->database));
	LWLockRelease(&node->state_lock);
}

static const char *
word_for(char placeholder, void *arg)
{
	const ChangeWords *w = arg;

	switch (placeholder)
	{
		case 'r':
			return node_state_name(w->change.to);
		case 'o':
			return node_state_name(w->change.from);
		case 'n':
			return w->node;
		case 'g':
			return w->group;
		case 't':
			return w->term;
		case 'l':
			return w->leader;
		case 'c':
			return w->conninfo;
		case 'd':
			return w->database;
		default:
			return NULL;
	}
}

/* Between fork and exec: system calls only. */
static void
exec_shell(const char *command, pid_t parent, int max_fd)
{
	int			null;

	setpgid(0, 0);
#ifdef __linux__
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(1);
#endif
	null = open("/dev/null", O_RDONLY);
	if (null >= 0)
		dup2(null, STDIN_FILENO);
	for (int fd = STDERR_FILENO + 1; fd < max_fd; fd++)
		close(fd);
	signal(SIGPIPE, SIG_DFL);
	execl("/bin/sh", "sh", "-c", command, (char *) NULL);
	_exit(127);
}

static bool
start_command(const char *command)
{
	pid_t		parent = getpid();
	struct rlimit limit;
	int			max_fd = MAX_FDS;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < MAX_FDS)
		max_fd = (int) limit.rlim_cur;
	fflush(NULL);
	command_pid = fork();
	if (command_pid == 0)
		exec_shell(command, parent, max_fd);
	if (command_pid < 0)
	{
		command_pid = 0;
		ereport(LOG,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not run baton.on_role_change: %m")));
		return false;
	}
	setpgid(command_pid, command_pid);	/* whoever of the two comes first */
	return true;
}

/* At the end of this process: nobody waits for the command any more. */
static void
kill_command(int code, Datum arg)
{
	if (command_pid > 0)
		kill(-command_pid, SIGTERM);
}

/* Where this process ends, if the coordinator wants it to or a person does. */
static void
check_for_end(NodeShared *node)
{
	if (ShutdownRequestPending && !node_worker_outlives(node, WORKER_NOTIFIER))
		proc_exit(0);
	CHECK_FOR_INTERRUPTS();
}

static void
nap(NodeShared *node, long ms)
{
	if (ShutdownRequestPending)
		ms = Min(ms, OUTLIVE_LOOK_MS);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
					 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	check_for_end(node);
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/*
 * Wait until the command has ended; one that takes too long is ended.  *late: it
 * was.  Returns its status as waitpid() gives it.
 */
static int
wait_for_command(NodeShared *node, bool *late)
{
	uint64		until = boot_ms() + baton_on_role_change_timeout;
	int			status = 0;
	bool		killed = false;

	*late = false;
	for (;;)
	{
		uint64		now = boot_ms();
		pid_t		pid = waitpid(command_pid, &status, WNOHANG);

		if (pid == command_pid || (pid < 0 && errno != EINTR))
			break;
		if (now >= until && !killed)
		{
			kill(-command_pid, *late ? SIGKILL : SIGTERM);
			killed = *late;
			*late = true;
			until = now + KILL_GRACE_MS;
		}
		nap(node, killed || until <= now ? NAP_MS : (long) Min(until - now, NAP_MS));
	}
	/* what it may have left behind in the background, too */
	if (*late)
		kill(-command_pid, SIGKILL);
	command_pid = 0;
	return status;
}

static void
report_end(const char *command, int status, bool late)
{
	if (late)
		ereport(LOG,
				(errmsg("baton.on_role_change was ended after %d ms", baton_on_role_change_timeout),
				 errdetail("The command was: %s", command),
				 errhint("Make it faster, or raise \"baton.on_role_change_timeout\".")));
	else if (status != 0)
		ereport(LOG,
				(errmsg("baton.on_role_change has failed: %s", wait_result_to_str(status)),
				 errdetail("The command was: %s", command)));
}

static void
tell(NodeShared *node, const RoleChange *change)
{
	ChangeWords w;
	const char *why;
	char	   *command;
	bool		late;
	int			status;

	if (baton_on_role_change[0] == '\0')
		return;
	find_words(node, change, &w);
	command = notifier_expand(baton_on_role_change, word_for, &w, &why);
	if (command == NULL)
	{
		ereport(WARNING,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("baton.on_role_change was not run: it is not valid"),
				 errdetail("%s", why)));
		return;
	}
	pgstat_report_activity(STATE_RUNNING, command);
	if (start_command(command))
	{
		status = wait_for_command(node, &late);
		report_end(command, status, late);
	}
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* ---- the worker ---- */

static void
child_has_ended(SIGNAL_ARGS)
{
	int			save_errno = errno;

	SetLatch(MyLatch);
	errno = save_errno;
}

/*
 * Entry point of the background worker; main_arg is the database's oid.
 */
void
baton_notifier_main(Datum main_arg)
{
	NodeShared *node = node_find(DatumGetObjectId(main_arg));
	MemoryContext context;
	RoleChange	change;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGCHLD, child_has_ended);
	BackgroundWorkerUnblockSignals();
	if (node == NULL)
		return;
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("baton notifier");
	node_worker_attach(node, WORKER_NOTIFIER);
	before_shmem_exit(kill_command, 0);

	context = AllocSetContextCreate(TopMemoryContext, "baton notifier", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	for (;;)
	{
		check_for_end(node);
		if (take_change(node, &change))
			tell(node, &change);
		else
		{
			/* the coordinator of a server that stops waits for this */
			if (ShutdownRequestPending)
				node_wake(node, WORKER_COORDINATOR);
			nap(node, NAP_MS);
		}
		MemoryContextReset(context);
	}
}
