/*
 * role_publish.c - what other databases of the server have changed of roles.
 *
 * The coordinator of a node that leads keeps what it has told of each row, looks at
 * all rows when some transaction of the server has changed any, and tells those that
 * differ, and what is gone.  What sessions of its own database have changed, they have
 * told themselves: that is only taken note of.  It tells all at the beginning of a reign, and when a
 * replica joins or is connected again: what is the same there is not written.
 *
 * Rows are known by OIDs, so that a new name is told as that.  What is gone is told
 * first: a role that was dropped and made anew loses what it had.
 *
 * What is gone is known from what was there at the look before.  A row that another
 * database takes away before any look has found it, or in the last moment before a crash
 * of the server, stays on the replicas.
 */
#include "capture/roles.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/snapmgr.h"

/* Between two looks, if something could not be told ... */
#define RETRY_MS	200
/* ... and in any case, as a multiple of what the last one took. */
#define PAUSE_FACTOR	10

typedef struct RowContent
{
	uint64		digest;
	uint32		flags;
	char		name[NAMEDATALEN];
	char		other[NAMEDATALEN];
} RowContent;

typedef struct ToldRow
{
	RoleKey		key;			/* hash key */
	bool		told;			/* what it is in the stream is `content` */
	bool		fresh;			/* it was not there before this turn */
	RowContent	content;		/* as it was told last; fresh: as it is */
	RowContent	seen;			/* as it is */
	uint64		turn;			/* in which it was seen last */
} ToldRow;

struct RolePublisher
{
	NodeShared *node;
	MemoryContext cxt;
	HTAB	   *rows;			/* of ToldRow; NULL: nothing told yet */
	uint32		all_told;		/* node->sequences_all when all were told */
	bool		shared;			/* baton.replicate_roles was on */
	uint32		logged;			/* node->roles_logged at the last look */
	uint64		turn;
	bool		retry;			/* something could not be told */
	uint64		pause_until;	/* boot_ms() */
	bool		complete;		/* this turn: all could be told, ... */
	bool		gone_told;		/* ... and what is gone */
	bool		names_stay;		/* as this turn has seen them, until it is committed */
};

RolePublisher *
role_publisher_create(NodeShared *node, MemoryContext cxt)
{
	RolePublisher *p = MemoryContextAllocZero(cxt, sizeof(RolePublisher));

	p->node = node;
	p->cxt = cxt;
	return p;
}

void
role_publisher_forget(RolePublisher *p)
{
	if (p->rows != NULL)
		hash_destroy(p->rows);
	p->rows = NULL;
	p->retry = false;
	p->pause_until = 0;
	/* sessions bring what they need until all is told */
	pg_atomic_write_u32(&p->node->roles_told, pg_atomic_read_u32(&p->node->roles_changed) - 1);
}

static void
begin_anew(RolePublisher *p)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(RoleKey);
	ctl.entrysize = sizeof(ToldRow);
	ctl.hcxt = p->cxt;
	p->rows = hash_create("baton told roles", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* All is to be told again; what is gone meanwhile too. */
static void
doubt_all(RolePublisher *p)
{
	HASH_SEQ_STATUS seq;
	ToldRow    *row;

	hash_seq_init(&seq, p->rows);
	while ((row = hash_seq_search(&seq)) != NULL)
		row->told = false;
}

/* ---- first look: what is there ---- */

static uint64
digest_of(const RoleState *state)
{
	StreamBuf	buf = {0};
	uint64		digest;

	record_put_role_body(&buf, &state->record, state->texts);
	if (buf.failed)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	digest = hash_bytes_extended((unsigned char *) buf.data, (int) buf.len, 0);
	stream_buf_free(&buf);
	return digest;
}

static void
mark_row(RoleState *state, Relation catalog, HeapTuple tuple, void *arg)
{
	RolePublisher *p = arg;
	bool		found;
	ToldRow    *row = hash_search(p->rows, &state->key, HASH_ENTER, &found);

	row->seen.digest = digest_of(state);
	row->seen.flags = state->record.flags;
	strlcpy(row->seen.name, state->record.name, NAMEDATALEN);
	strlcpy(row->seen.other, state->record.other, NAMEDATALEN);
	row->turn = p->turn;
	row->fresh = !found;
	if (!found)
	{
		row->told = false;
		row->content = row->seen;
	}
}

/*
 * May all that was seen be in the stream already?  So it is if every commit that can
 * have changed it was one of this database's: others count themselves before their
 * changes can be seen, and once more behind.
 */
static bool
all_is_logged(RolePublisher *p, uint32 changed)
{
	pg_memory_barrier();
	return pg_atomic_read_u32(&baton_shared->roles_changing) == 0 &&
		pg_atomic_read_u32(&p->node->roles_changed) == changed;
}

static void
note_seen(RolePublisher *p)
{
	HASH_SEQ_STATUS seq;
	ToldRow    *row;

	hash_seq_init(&seq, p->rows);
	while ((row = hash_seq_search(&seq)) != NULL)
	{
		if (row->turn != p->turn)
			continue;
		row->told = row->told || row->fresh;
		row->content = row->seen;
	}
}

/* ---- what is gone ---- */

/* Has the present look found a role with this name, or OID? */
static bool
role_is_seen(RolePublisher *p, Oid role, const char *name)
{
	HASH_SEQ_STATUS seq;
	ToldRow    *row;

	hash_seq_init(&seq, p->rows);
	while ((row = hash_seq_search(&seq)) != NULL)
		if (row->turn == p->turn && row->key.item == ROLE_ATTRIBUTES &&
			(row->key.role == role || strcmp(row->seen.name, name) == 0))
		{
			hash_seq_term(&seq);
			return true;
		}
	return false;
}

/* Is there a role to take something away from?  It may have another name by now, which
 * is told behind this. */
static bool
is_here(RolePublisher *p, Oid role, const char *name)
{
	return role < FirstNormalObjectId || role_is_seen(p, role, name);
}

static ToldRow *
find_told_role(RolePublisher *p, Oid role)
{
	RoleKey		key = {0};

	key.item = ROLE_ATTRIBUTES;
	key.role = role;
	return hash_search(p->rows, &key, HASH_FIND, NULL);
}

/* Is the role in the stream, under the name that it has? */
static bool
role_is_told(RolePublisher *p, Oid role)
{
	ToldRow    *row;

	if (role < FirstNormalObjectId)
		return true;
	row = find_told_role(p, role);
	return row != NULL && row->told && strcmp(row->content.name, row->seen.name) == 0;
}

/* What the role is called in the stream: a new name may have been told since the row was
 * that names it. */
static const char *
told_name(RolePublisher *p, Oid role, const char *name)
{
	ToldRow    *row = find_told_role(p, role);

	return row != NULL ? row->content.name : name;
}

static void
tell_gone(RolePublisher *p, const ToldRow *row)
{
	RoleState	state = {{0}};

	state.key = row->key;
	state.record.item = row->key.item;
	state.record.flags = row->content.flags & (RECORD_ROLE_POWERFUL | RECORD_ROLE_HERE);
	strlcpy(state.record.name, told_name(p, row->key.role, row->content.name), RECORD_NAME_LEN);
	strlcpy(state.record.other, told_name(p, row->key.member, row->content.other), RECORD_NAME_LEN);
	if (row->key.item == ROLE_ATTRIBUTES)
	{
		/* one that was made anew under the same name takes its place */
		if (role_is_seen(p, InvalidOid, row->content.name))
			return;
		state.record.item = ROLE_GONE;
	}
	else if (row->key.item == ROLE_MEMBER)
		state.record.item = ROLE_NO_MEMBER;
	if (!baton_replicate_roles && role_item_is_shared(&state.record))
		return;
	/* a role takes all that is its own along */
	if (row->key.item != ROLE_ATTRIBUTES &&
		(!is_here(p, row->key.role, row->content.name) || !is_here(p, row->key.member, row->content.other)))
		return;
	roles_log(p->node, &state);
}

/* Roles go last: what is said of them before names them still. */
static void
tell_all_gone(RolePublisher *p, bool roles)
{
	HASH_SEQ_STATUS seq;
	ToldRow    *row;

	hash_seq_init(&seq, p->rows);
	while ((row = hash_seq_search(&seq)) != NULL)
		if (row->turn != p->turn && (row->key.item == ROLE_ATTRIBUTES) == roles)
			tell_gone(p, row);
}

static bool
any_gone(RolePublisher *p)
{
	HASH_SEQ_STATUS seq;
	ToldRow    *row;

	hash_seq_init(&seq, p->rows);
	while ((row = hash_seq_search(&seq)) != NULL)
		if (row->turn != p->turn)
		{
			hash_seq_term(&seq);
			return true;
		}
	return false;
}

/* Once it is committed that they are told. */
static void
forget_gone(RolePublisher *p)
{
	HASH_SEQ_STATUS seq;
	ToldRow    *row;

	hash_seq_init(&seq, p->rows);
	while ((row = hash_seq_search(&seq)) != NULL)
		if (row->turn != p->turn)
			hash_search(p->rows, &row->key, HASH_REMOVE, NULL);
}

/* ---- second look: what differs ---- */

static void
tell_rename(RolePublisher *p, const ToldRow *row, const RoleState *state)
{
	RoleState	rename = {{0}};

	/* if another one has its old name, the replicas cannot know which is meant */
	if (state->key.item != ROLE_ATTRIBUTES || state->key.role == BOOTSTRAP_SUPERUSERID ||
		role_is_seen(p, InvalidOid, row->content.name))
		return;
	rename.record.item = ROLE_RENAMED;
	rename.record.flags = (row->content.flags | state->record.flags) & RECORD_ROLE_POWERFUL;
	strlcpy(rename.record.name, row->content.name, RECORD_NAME_LEN);
	strlcpy(rename.record.other, state->record.name, RECORD_NAME_LEN);
	roles_log(p->node, &rename);
}

static void
tell_row(RoleState *state, Relation catalog, HeapTuple tuple, void *arg)
{
	RolePublisher *p = arg;
	ToldRow    *row = hash_search(p->rows, &state->key, HASH_FIND, NULL);

	/* it has come since the first look: the next turn's */
	if (row == NULL || row->seen.digest != digest_of(state))
	{
		p->complete = false;
		return;
	}
	if (row->told && row->content.digest == row->seen.digest)
		return;
	if (!baton_replicate_roles && role_item_is_shared(&state->record))
		return;
	/* a role is locked by its own row, all else only names it, and comes behind it */
	if ((state->key.item != ROLE_ATTRIBUTES &&
		 (!p->names_stay || !role_is_told(p, state->key.role) || !role_is_told(p, state->key.member))) ||
		!roles_lock_row(catalog, tuple))
	{
		p->complete = false;
		return;
	}
	tell_rename(p, row, state);
	state->record.flags |= row->content.flags & RECORD_ROLE_POWERFUL;
	roles_log(p->node, state);
	row->told = true;
	row->content = row->seen;
}

/* ---- all ---- */

/* May what is gone be told?  Not if somebody may be making it anew. */
static bool
lock_gone(RolePublisher *p)
{
	if (!any_gone(p))
		return true;
	if (!roles_lock_exclusive())
		return false;
	/* a transaction that has ended since the look may have made it */
	role_states_each(mark_row, p);
	return true;
}

/* logged: as far as is known all that is new was logged by sessions. */
static void
look(RolePublisher *p, bool logged, uint32 changed)
{
	p->turn++;
	p->complete = true;
	p->gone_told = false;
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	p->names_stay = roles_lock_names();
	role_states_each(mark_row, p);
	if (logged && all_is_logged(p, changed))
	{
		note_seen(p);
		p->gone_told = true;
	}
	else if (!lock_gone(p))
		p->complete = false;
	else
	{
		tell_all_gone(p, false);
		tell_all_gone(p, true);
		p->gone_told = true;
		role_states_each(tell_row, p);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	/* told twice, it might take away what has come meanwhile */
	if (p->gone_told)
		forget_gone(p);
}

/* An error is logged, and all is told again. */
static void
look_safely(RolePublisher *p, bool logged, uint32 changed)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		look(p, logged, changed);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		doubt_all(p);
		p->complete = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

void
roles_publish(RolePublisher *p, bool urgent)
{
	NodeShared *node = p->node;
	uint64		start = boot_ms();
	uint32		all = pg_atomic_read_u32(&node->sequences_all);
	uint32		changed = pg_atomic_read_u32(&node->roles_changed);
	uint32		logged = pg_atomic_read_u32(&node->roles_logged);
	bool		news = p->retry || pg_atomic_read_u32(&node->roles_told) != changed;
	bool		anew = p->rows == NULL || p->all_told != all || p->shared != baton_replicate_roles;

	if ((!anew && !news && p->logged == logged) || (!urgent && start < p->pause_until))
		return;
	if (p->rows == NULL)
		begin_anew(p);
	else if (anew)
		doubt_all(p);
	look_safely(p, !anew && !news, changed);
	p->all_told = all;
	p->logged = logged;
	p->shared = baton_replicate_roles;
	p->retry = !p->complete;
	p->pause_until = boot_ms() + (boot_ms() - start) * PAUSE_FACTOR + (p->retry ? RETRY_MS : 0);
	if (p->complete)
		pg_atomic_write_u32(&node->roles_told, changed);
}
