/*
 * control.c - reading and replacing the control file.
 *
 *   u32 magic; u32 version; u32 length of the whole file; the fields of
 *   ControlData in the order of encode_data(), little-endian, strings as u16
 *   length + bytes; u32 CRC-32C of all before it
 *
 * A crash while it is replaced leaves the old file, or the new one, and perhaps
 * a "control.tmp" beside it, which nobody reads.
 */
#include "control/control.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "port/pg_crc32c.h"

#define CONTROL_HEADER_LEN	12
#define CONTROL_CRC_LEN		4
/* More than any control file can have. */
#define CONTROL_MAX_LEN		(64 * 1024)
#define CONTROL_PATH_LEN	(1024 + 32)

static ControlCode
control_fail(ControlError *err, ControlCode code, int sys_errno, const char *what,
			 const char *path)
{
	if (err != NULL)
	{
		err->sys_errno = sys_errno;
		if (sys_errno != 0)
			snprintf(err->message, sizeof(err->message), "could not %s \"%s\": %s",
					 what, path, strerror(sys_errno));
		else
			snprintf(err->message, sizeof(err->message), "control file \"%s\" %s", path, what);
	}
	return code;
}

static void
control_path(const char *directory, const char *name, char path[CONTROL_PATH_LEN])
{
	snprintf(path, CONTROL_PATH_LEN, "%s/%s", directory, name);
}

/* ---- bytes ---- */

static void
put_bool(StreamBuf *buf, bool v)
{
	stream_buf_u8(buf, v ? 1 : 0);
}

static bool
get_bool(StreamCursor *c)
{
	uint8		v = stream_get_u8(c);

	if (v > 1)
		c->failed = true;
	return v == 1;
}

static void
encode_membership(StreamBuf *buf, const Membership *m)
{
	StreamBuf	membership = {0};

	membership_encode(m, &membership);
	stream_buf_u32(buf, (uint32) membership.len);
	stream_buf_append(buf, membership.data, membership.len);
	buf->failed |= membership.failed;
	stream_buf_free(&membership);
}

static bool
decode_membership(StreamCursor *c, Membership *m)
{
	uint32		len = stream_get_u32(c);
	const char *bytes = stream_get_bytes(c, len);

	return bytes != NULL && membership_decode(bytes, len, m);
}

static void
encode_place(StreamBuf *buf, ConsensusPlace place)
{
	stream_buf_u64(buf, place.term);
	stream_buf_u64(buf, place.pos);
}

static ConsensusPlace
decode_place(StreamCursor *c)
{
	ConsensusPlace place;

	place.term = stream_get_u64(c);
	place.pos = stream_get_u64(c);
	return place;
}

static void
encode_terms(StreamBuf *buf, const StreamTerms *t)
{
	stream_buf_u8(buf, (uint8) t->n);
	for (int i = 0; i < t->n; i++)
	{
		stream_buf_u64(buf, t->part[i].term);
		stream_buf_u64(buf, t->part[i].start);
	}
}

static void
decode_terms(StreamCursor *c, StreamTerms *t)
{
	t->n = stream_get_u8(c);
	if (t->n > STREAM_TERMS_MAX)
	{
		c->failed = true;
		t->n = 0;
	}
	for (int i = 0; i < t->n; i++)
	{
		t->part[i].term = stream_get_u64(c);
		t->part[i].start = stream_get_u64(c);
	}
}

static void
encode_data(StreamBuf *buf, const ControlData *d)
{
	stream_buf_u64(buf, d->system_identifier);
	stream_buf_u32(buf, d->dboid);
	stream_buf_append(buf, d->group_id, sizeof(d->group_id));
	stream_buf_string(buf, d->group_name);
	stream_buf_u16(buf, d->self);
	stream_buf_u64(buf, d->incarnation);
	stream_buf_string(buf, d->slot_name);
	stream_buf_append(buf, d->ddl_key, sizeof(d->ddl_key));

	stream_buf_u64(buf, d->durable.term);
	stream_buf_u16(buf, d->durable.voted_for);
	stream_buf_u32(buf, d->durable.promise_ms);

	stream_buf_u8(buf, d->intent);
	put_bool(buf, d->was_primary);
	put_bool(buf, d->door_closed);
	stream_buf_string(buf, d->reason);

	encode_membership(buf, &d->membership);
	put_bool(buf, d->membership_committed);
	if (!d->membership_committed)
		encode_membership(buf, &d->membership_before);
	encode_place(buf, d->vote_floor);
	encode_place(buf, d->cut_mark);
	for (int i = 0; i < CONSENSUS_MAX_MEMBERS; i++)
	{
		stream_buf_u16(buf, d->peer_marks[i].id);
		encode_place(buf, d->peer_marks[i].place);
	}

	stream_buf_u64(buf, d->log_base);
	stream_buf_u64(buf, d->base_last_start);
	stream_buf_u64(buf, d->base_last_term);
	stream_buf_u64(buf, d->known_flushed);
	encode_terms(buf, &d->terms);
	stream_buf_u64(buf, d->own_lsn);
	stream_buf_u64(buf, d->own_floor);
	stream_buf_u64(buf, d->sequence_floor);
	stream_buf_u64(buf, d->applied_floor);

	stream_buf_u16(buf, d->copy_source);
	stream_buf_u64(buf, d->copy_term);
	stream_buf_u64(buf, d->copy_lsn);
	stream_buf_string(buf, d->copy_conninfo);
	put_bool(buf, d->copy_replaces);

	stream_buf_u8(buf, d->reconcile);
	put_bool(buf, d->rollback_unlimited);
	stream_buf_u64(buf, d->reconcile_attempt);
	stream_buf_u32(buf, d->reconcile_txns);
	stream_buf_u64(buf, d->rolled_back_lsn);
	stream_buf_u32(buf, d->origin_number);
	stream_buf_u64(buf, d->mend_until);
	stream_buf_u64(buf, d->share_floor);
}

static bool
decode_data(StreamCursor *c, ControlData *d)
{
	const char *bytes;

	memset(d, 0, sizeof(*d));
	d->system_identifier = stream_get_u64(c);
	d->dboid = stream_get_u32(c);
	bytes = stream_get_bytes(c, sizeof(d->group_id));
	if (bytes != NULL)
		memcpy(d->group_id, bytes, sizeof(d->group_id));
	stream_get_string(c, d->group_name, sizeof(d->group_name));
	d->self = stream_get_u16(c);
	d->incarnation = stream_get_u64(c);
	stream_get_string(c, d->slot_name, sizeof(d->slot_name));
	bytes = stream_get_bytes(c, sizeof(d->ddl_key));
	if (bytes != NULL)
		memcpy(d->ddl_key, bytes, sizeof(d->ddl_key));

	d->durable.term = stream_get_u64(c);
	d->durable.voted_for = stream_get_u16(c);
	d->durable.promise_ms = stream_get_u32(c);

	d->intent = stream_get_u8(c);
	d->was_primary = get_bool(c);
	d->door_closed = get_bool(c);
	stream_get_string(c, d->reason, sizeof(d->reason));

	if (!decode_membership(c, &d->membership))
		return false;
	d->membership_committed = get_bool(c);
	if (!d->membership_committed && !decode_membership(c, &d->membership_before))
		return false;
	d->vote_floor = decode_place(c);
	d->cut_mark = decode_place(c);
	for (int i = 0; i < CONSENSUS_MAX_MEMBERS; i++)
	{
		d->peer_marks[i].id = stream_get_u16(c);
		d->peer_marks[i].place = decode_place(c);
	}

	d->log_base = stream_get_u64(c);
	d->base_last_start = stream_get_u64(c);
	d->base_last_term = stream_get_u64(c);
	d->known_flushed = stream_get_u64(c);
	decode_terms(c, &d->terms);
	d->own_lsn = stream_get_u64(c);
	d->own_floor = stream_get_u64(c);
	d->sequence_floor = stream_get_u64(c);
	d->applied_floor = stream_get_u64(c);

	d->copy_source = stream_get_u16(c);
	d->copy_term = stream_get_u64(c);
	d->copy_lsn = stream_get_u64(c);
	stream_get_string(c, d->copy_conninfo, sizeof(d->copy_conninfo));
	d->copy_replaces = get_bool(c);

	d->reconcile = stream_get_u8(c);
	d->rollback_unlimited = get_bool(c);
	d->reconcile_attempt = stream_get_u64(c);
	d->reconcile_txns = stream_get_u32(c);
	d->rolled_back_lsn = stream_get_u64(c);
	d->origin_number = stream_get_u32(c);
	d->mend_until = stream_get_u64(c);
	d->share_floor = stream_get_u64(c);

	return !c->failed && c->p == c->end &&
		d->intent >= INTENT_ACTIVE && d->intent <= INTENT_DETACHED &&
		d->reconcile <= RECONCILE_ALONE && d->reconcile != RECONCILE_SAVE;
}

static pg_crc32c
control_crc(const char *bytes, size_t len)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, bytes, len);
	FIN_CRC32C(crc);
	return crc;
}

/* Why these bytes are no control file, or NULL; then *d has it. */
static const char *
decode_file(const char *bytes, size_t len, ControlData *d)
{
	StreamCursor c;

	if (len < CONTROL_HEADER_LEN + CONTROL_CRC_LEN)
		return "is too short";
	if (stream_load_u32(bytes) != CONTROL_MAGIC)
		return "has a wrong magic number";
	if (stream_load_u32(bytes + 4) != CONTROL_VERSION)
		return "has an unknown version";
	if (stream_load_u32(bytes + 8) != len)
		return "has a wrong length";
	if (stream_load_u32(bytes + len - CONTROL_CRC_LEN) !=
		control_crc(bytes, len - CONTROL_CRC_LEN))
		return "has a wrong checksum";
	c.p = bytes + CONTROL_HEADER_LEN;
	c.end = bytes + len - CONTROL_CRC_LEN;
	c.failed = false;
	return decode_data(&c, d) ? NULL : "has values that cannot be";
}

/*
 * The file's bytes.  What could not be read back must not replace what can, so
 * they are decoded again at once.  Returns the reason if it fails, or NULL.
 */
static const char *
encode_file(const ControlData *d, StreamBuf *buf)
{
	ControlData *check;
	const char *fault;

	stream_buf_u32(buf, CONTROL_MAGIC);
	stream_buf_u32(buf, CONTROL_VERSION);
	stream_buf_u32(buf, 0);
	encode_data(buf, d);
	if (!buf->failed)
	{
		stream_store_u32(buf->data + 8, (uint32) (buf->len + CONTROL_CRC_LEN));
		stream_buf_u32(buf, control_crc(buf->data, buf->len));
	}
	check = malloc(sizeof(*check));
	if (buf->failed || check == NULL)
	{
		free(check);
		return "was not written: out of memory";
	}
	fault = decode_file(buf->data, buf->len, check);
	free(check);
	return fault == NULL ? NULL : "was not written: it would have values that cannot be";
}

/* ---- files ---- */

static bool
write_all(int fd, const char *p, size_t len)
{
	while (len > 0)
	{
		ssize_t		n;

		errno = 0;
		n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
		{
			/* a write of nothing without an error is a full disk */
			if (errno == 0)
				errno = ENOSPC;
			return false;
		}
		p += n;
		len -= n;
	}
	return true;
}

static int
fsync_retry(int fd)
{
	int			rc;

	do
		rc = fsync(fd);
	while (rc < 0 && errno == EINTR);
	return rc;
}

static ControlCode
sync_directory(const char *directory, ControlError *err)
{
	int			fd = open(directory, O_RDONLY | O_CLOEXEC);
	ControlCode code = CONTROL_OK;

	if (fd < 0)
		return control_fail(err, CONTROL_IO, errno, "open directory", directory);
	if (fsync_retry(fd) < 0)
		code = control_fail(err, CONTROL_IO, errno, "fsync directory", directory);
	close(fd);
	return code;
}

/* A new file with these bytes, on disk, but for its directory entry. */
static ControlCode
write_file(const char *path, const StreamBuf *buf, ControlError *err)
{
	int			fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ControlCode code = CONTROL_OK;

	if (fd < 0)
		return control_fail(err, CONTROL_IO, errno, "create file", path);
	if (!write_all(fd, buf->data, buf->len))
		code = control_fail(err, CONTROL_IO, errno, "write file", path);
	else if (fsync_retry(fd) < 0)
		code = control_fail(err, CONTROL_IO, errno, "fsync file", path);
	if (close(fd) < 0 && code == CONTROL_OK)
		code = control_fail(err, CONTROL_IO, errno, "close file", path);
	return code;
}

ControlCode
control_write(const char *directory, const ControlData *data, ControlError *err)
{
	char		path[CONTROL_PATH_LEN];
	char		tmp[CONTROL_PATH_LEN];
	StreamBuf	buf = {0};
	const char *fault;
	ControlCode code;

	control_path(directory, "control", path);
	control_path(directory, "control.tmp", tmp);
	fault = encode_file(data, &buf);
	if (fault != NULL)
		code = control_fail(err, CONTROL_DAMAGED, 0, fault, path);
	else
		code = write_file(tmp, &buf, err);
	stream_buf_free(&buf);
	if (code != CONTROL_OK)
		return code;
	if (rename(tmp, path) < 0)
		return control_fail(err, CONTROL_IO, errno, "rename file", tmp);
	return sync_directory(directory, err);
}

/* Up to CONTROL_MAX_LEN + 1 bytes of a file into buf. */
static ControlCode
read_file(const char *path, StreamBuf *buf, ControlError *err)
{
	int			fd = open(path, O_RDONLY | O_CLOEXEC);
	ControlCode code = CONTROL_OK;

	if (fd < 0)
		return control_fail(err, errno == ENOENT ? CONTROL_MISSING : CONTROL_IO, errno,
							"open file", path);
	if (stream_buf_extend(buf, CONTROL_MAX_LEN + 1) == NULL)
	{
		close(fd);
		return control_fail(err, CONTROL_IO, ENOMEM, "read file", path);
	}
	buf->len = 0;
	while (buf->len <= CONTROL_MAX_LEN)
	{
		ssize_t		n = read(fd, buf->data + buf->len, CONTROL_MAX_LEN + 1 - buf->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			code = control_fail(err, CONTROL_IO, errno, "read file", path);
		if (n <= 0)
			break;
		buf->len += n;
	}
	close(fd);
	return code;
}

ControlCode
control_read(const char *directory, ControlData *data, ControlError *err)
{
	char		path[CONTROL_PATH_LEN];
	StreamBuf	buf = {0};
	const char *fault;
	ControlCode code;

	control_path(directory, "control", path);
	code = read_file(path, &buf, err);
	if (code == CONTROL_OK)
	{
		fault = decode_file(buf.data, buf.len, data);
		if (fault != NULL)
			code = control_fail(err, CONTROL_DAMAGED, 0, fault, path);
	}
	stream_buf_free(&buf);
	return code;
}

ControlCode
control_remove(const char *directory, ControlError *err)
{
	static const char *const names[] = {"control", "control.tmp"};
	char		path[CONTROL_PATH_LEN];

	for (int i = 0; i < (int) lengthof(names); i++)
	{
		control_path(directory, names[i], path);
		if (unlink(path) < 0 && errno != ENOENT)
			return control_fail(err, CONTROL_IO, errno, "remove file", path);
	}
	return sync_directory(directory, err);
}
