/*
 * copy_child.c - runs pg_dump and pg_restore as children of the copy worker.
 *
 * A child is the leader of a process group of its own, so that its parallel workers
 * go with it, and its stdout and stderr come through a pipe on which the worker
 * waits together with its latch.  It never outlives the worker: the worker ends it
 * when an attempt fails and when it exits, and where the system knows how (Linux)
 * the kernel does it for a worker that is killed.
 */
#include "baton.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "copy/copy_internal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

#define WATCH_INTERVAL_MS	500
#define KILL_GRACE_MS		3000
#define MAX_ERROR_LEN		400
#define MAX_FDS				65536

extern char **environ;

/* ---- the child's side, between fork and exec: system calls only ---- */

static void
child_exec(const char *path, char *const *argv, char *const *envp, int output,
		   pid_t parent, int max_fd)
{
	static const char failed[] = "error: could not be executed\n";
	int			null;

	setpgid(0, 0);
#ifdef __linux__
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(1);				/* the worker died before that took effect */
#endif
	null = open("/dev/null", O_RDONLY);
	if (null >= 0)
		dup2(null, STDIN_FILENO);
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	for (int fd = STDERR_FILENO + 1; fd < max_fd; fd++)
		close(fd);
	signal(SIGPIPE, SIG_DFL);
	execve(path, argv, envp);
	if (write(STDERR_FILENO, failed, sizeof(failed) - 1) < 0)
		_exit(126);
	_exit(127);
}

/* ---- the worker's side ---- */

/*
 * Where PostgreSQL's own programs lie: beside the server's.  A path is taken as it
 * is.  Raises ERRCODE_UNDEFINED_FILE.
 */
char *
copy_child_program(const char *program)
{
	char		directory[MAXPGPATH];
	char	   *path;
	struct stat st;

	if (is_absolute_path(program))
		return pstrdup(program);
	strlcpy(directory, my_exec_path, sizeof(directory));
	get_parent_directory(directory);
	path = psprintf("%s/%s", directory, program);
	if (stat(path, &st) != 0 || access(path, X_OK) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("the initial copy needs \"%s\", which is not there", path),
				 errhint("Install PostgreSQL's client programs beside the server's.")));
	return path;
}

/* The worker's environment, with the service file and untranslated messages. */
static char **
child_environment(CopyContext *ctx)
{
	char	  **envp;
	int			n = 0;
	int			kept = 0;

	while (environ[n] != NULL)
		n++;
	envp = palloc0(sizeof(char *) * (n + 3));
	for (int i = 0; i < n; i++)
		if (strncmp(environ[i], "PGSERVICE", 9) != 0 &&
			strncmp(environ[i], "PGOPTIONS=", 10) != 0 &&
			strncmp(environ[i], "LC_ALL=", 7) != 0)
			envp[kept++] = environ[i];
	envp[kept++] = psprintf("PGSERVICEFILE=%s", ctx->services);
	envp[kept++] = "LC_ALL=C";
	return envp;
}

static void
child_start(CopyContext *ctx, const char *program, char *const *argv)
{
	char	   *path = copy_child_program(program);
	char	  **envp = child_environment(ctx);
	pid_t		parent = getpid();
	struct rlimit limit;
	int			max_fd = MAX_FDS;
	int			ends[2];
	pid_t		pid;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < MAX_FDS)
		max_fd = (int) limit.rlim_cur;
	if (pipe(ends) != 0)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not create a pipe: %m")));

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		child_exec(path, argv, envp, ends[1], parent, max_fd);
	close(ends[1]);
	if (pid < 0)
	{
		close(ends[0]);
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES), errmsg("could not start %s: %m", program)));
	}
	setpgid(pid, pid);			/* whoever of the two comes first */
	(void) fcntl(ends[0], F_SETFL, O_NONBLOCK);
	ctx->child.pid = pid;
	ctx->child.fd = ends[0];
	initStringInfo(&ctx->child.line);
	initStringInfo(&ctx->child.errors);
}

/*
 * Keep what tells why the child will fail: the first error and what follows it.
 * Other output is told by its lack of a tag.
 */
static void
keep_error(CopyChild *child, const char *line)
{
	if (child->errors.len == 0 && strstr(line, "error: ") == NULL)
		return;
	if (child->errors.len > MAX_ERROR_LEN)
		return;
	if (child->errors.len > 0)
		appendStringInfoString(&child->errors, "; ");
	appendStringInfo(&child->errors, "%.*s", MAX_ERROR_LEN, line);
}

static void
take_line(CopyContext *ctx, CopyChildWatcher watcher)
{
	CopyChild  *child = &ctx->child;

	if (child->line.len > 0)
	{
		keep_error(child, child->line.data);
		watcher(ctx, child->line.data);
	}
	resetStringInfo(&child->line);
}

/* Read what there is; closes the pipe at its end. */
static void
take_output(CopyContext *ctx, CopyChildWatcher watcher)
{
	CopyChild  *child = &ctx->child;
	char		buf[4096];

	for (;;)
	{
		ssize_t		n = read(child->fd, buf, sizeof(buf));

		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
			return;
		if (n <= 0)
		{
			take_line(ctx, watcher);
			close(child->fd);
			child->fd = -1;
			return;
		}
		for (ssize_t i = 0; i < n; i++)
		{
			if (buf[i] == '\n')
				take_line(ctx, watcher);
			else if (child->line.len < 4096)
				appendStringInfoChar(&child->line, buf[i]);
		}
	}
}

/* Wait for output, the latch, or the time of the next look at the progress. */
static void
wait_output(CopyContext *ctx, long ms)
{
	int			rc = WaitLatchOrSocket(MyLatch,
									   WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH | WL_SOCKET_READABLE,
									   ctx->child.fd, ms, PG_WAIT_EXTENSION);

	if (rc & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

static void
child_failed(CopyContext *ctx, const char *program, int status)
{
	char	   *why = ctx->child.errors.len > 0 ? ctx->child.errors.data : wait_result_to_str(status);

	ereport(ERROR,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("%s failed: %s", program, why)));
}

/*
 * Run a program to its end.  argv[0] is its name by custom, the last is NULL.
 * watcher sees each line it prints.  Raises ERRCODE_EXTERNAL_ROUTINE_EXCEPTION
 * with its own first error if it does not exit with 0; interrupts are checked.
 */
void
copy_child_run(CopyContext *ctx, const char *program, char *const *argv,
			   CopyChildWatcher watcher)
{
	TimestampTz next_look = GetCurrentTimestamp();
	int			status = 0;
	pid_t		ended = 0;

	child_start(ctx, program, argv);
	while (ended == 0)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next_look);

		if (left <= 0)
		{
			watcher(ctx, NULL);
			left = WATCH_INTERVAL_MS;
			next_look = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), left);
		}
		if (ctx->child.fd >= 0)
		{
			wait_output(ctx, left);
			take_output(ctx, watcher);
		}
		else
		{
			/* its output ended: it is about to exit */
			ended = waitpid(ctx->child.pid, &status, WNOHANG);
			if (ended == 0)
				copy_sleep(10);
		}
	}
	ctx->child.pid = 0;
	if (ended < 0 || status != 0)
		child_failed(ctx, program, status);
}

/*
 * End the child and its workers, if there are any.  Safe at any time, also while
 * the process exits; never raises.
 */
void
copy_child_kill(CopyContext *ctx)
{
	pid_t		pid = ctx->child.pid;
	int			status;

	ctx->child.pid = 0;
	if (ctx->child.fd > 0)
		close(ctx->child.fd);
	ctx->child.fd = -1;
	if (pid <= 0)
		return;

	/* SIGTERM first: it cancels what its sessions are running in the servers */
	kill(-pid, SIGTERM);
	for (int waited = 0; waited < KILL_GRACE_MS; waited += 10)
	{
		if (waitpid(pid, &status, WNOHANG) != 0)
		{
			kill(-pid, SIGKILL);	/* workers that may be left */
			return;
		}
		pg_usleep(10 * 1000);
	}
	kill(-pid, SIGKILL);
	(void) waitpid(pid, &status, 0);
}
