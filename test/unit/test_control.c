/*
 * test_control.c - the control file: read back as written, damage of any byte
 * is found, and a crash at any step of a replacement leaves a whole file.
 */
#include "control/control.h"
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

static void
add_member(Membership *m, uint16 id, const char *name, int priority)
{
	Member	   *member = &m->members[m->count++];

	member->voter.id = id;
	member->voter.type = CONSENSUS_ELECTABLE;
	member->voter.priority = priority;
	strcpy(member->name, name);
	snprintf(member->conninfo, sizeof(member->conninfo), "host=%s dbname=app", name);
}

static void
sample_membership(Membership *m)
{
	memset(m, 0, sizeof(*m));
	m->version = 7;
	m->next_id = 6;
	m->rule = RULE_DESIGNATED;
	m->designated = 2;
	m->ack_policy = ACK_MAJORITY;
	add_member(m, 1, "alpha", 100);
	add_member(m, 2, "beta", 0);
	add_member(m, 5, "gamma", 50);
	m->members[1].voter.type = CONSENSUS_ARBITER;
	m->members[2].voter.joining = 1;
	m->members[2].voter.detached = 1;
}

static ControlData *
sample(void)
{
	ControlData *d = calloc(1, sizeof(ControlData));

	d->system_identifier = UINT64CONST(7000000000000000001);
	d->dboid = 16384;
	for (int i = 0; i < 16; i++)
		d->group_id[i] = (uint8) (i * 17);
	strcpy(d->group_name, "group");
	d->self = 2;
	d->incarnation = 99;
	strcpy(d->slot_name, "baton_16384");
	d->durable.term = UINT64CONST(0x10001);
	d->durable.voted_for = 1;
	d->intent = INTENT_DETACHED;
	d->was_primary = true;
	d->door_closed = true;
	strcpy(d->reason, "a reason");
	sample_membership(&d->membership);
	d->log_base = 1;
	d->base_last_start = 2;
	d->base_last_term = 3;
	d->known_flushed = 4;
	d->terms.n = 2;
	d->terms.part[0].term = 20;
	d->terms.part[0].start = 1;
	d->terms.part[1].term = 21;
	d->terms.part[1].start = 3;
	d->own_lsn = 5;
	d->own_floor = 6;
	d->applied_floor = 7;
	d->copy_source = 8;
	d->copy_term = 9;
	d->copy_lsn = 10;
	strcpy(d->copy_conninfo, "host=alpha");
	d->reconcile = RECONCILE_FILL;
	d->rollback_unlimited = true;
	d->reconcile_attempt = 11;
	d->reconcile_txns = 12;
	d->rolled_back_lsn = 13;
	d->origin_number = 14;
	d->mend_until = 15;
	d->share_floor = 16;
	return d;
}

static void
control_file(const char *directory, const char *name, char path[128])
{
	snprintf(path, 128, "%s/%s", directory, name);
}

static void
write_bytes(const char *path, const char *bytes, size_t len)
{
	int			fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	CHECK(write(fd, bytes, len) == (ssize_t) len);
	close(fd);
}

static void
round_trip(void)
{
	const char *directory = unit_directory();
	ControlData *in = sample();
	ControlData *out = calloc(1, sizeof(ControlData));
	ControlError err = {0};
	char		path[128];

	CHECK(control_read(directory, out, &err) == CONTROL_MISSING && err.message[0] != '\0');
	CHECK(control_write(directory, in, &err) == CONTROL_OK);
	CHECK(control_read(directory, out, &err) == CONTROL_OK);
	CHECK(memcmp(in, out, sizeof(*in)) == 0);
	in->durable.term++;
	in->membership.count = 0;
	memset(in->membership.members, 0, sizeof(in->membership.members));
	CHECK(control_write(directory, in, &err) == CONTROL_OK);
	CHECK(control_read(directory, out, &err) == CONTROL_OK);
	CHECK(memcmp(in, out, sizeof(*in)) == 0);
	control_file(directory, "control.tmp", path);
	CHECK(access(path, F_OK) != 0);
	CHECK(control_remove(directory, &err) == CONTROL_OK);
	CHECK(control_remove(directory, &err) == CONTROL_OK);
	CHECK(control_read(directory, out, &err) == CONTROL_MISSING);
	free(in);
	free(out);
	unit_remove_directory(directory);
}

static void
full_membership(void)
{
	const char *directory = unit_directory();
	ControlData *in = sample();
	ControlData *out = calloc(1, sizeof(ControlData));

	in->membership.next_id = CONSENSUS_MAX_MEMBERS + 10;
	while (in->membership.count < CONSENSUS_MAX_MEMBERS)
	{
		char		name[BATON_NAME_LEN];

		snprintf(name, sizeof(name), "n%0*d", BATON_NAME_LEN - 2, in->membership.count);
		add_member(&in->membership, (uint16) (in->membership.count + 5), name, 1);
		memset(in->membership.members[in->membership.count - 1].conninfo, 'x', BATON_CONNINFO_LEN - 1);
	}
	CHECK(control_write(directory, in, NULL) == CONTROL_OK);
	CHECK(control_read(directory, out, NULL) == CONTROL_OK);
	CHECK(memcmp(in, out, sizeof(*in)) == 0);
	free(in);
	free(out);
	unit_remove_directory(directory);
}

/* The bytes of a good control file. */
static size_t
good_bytes(const char *directory, char *bytes, size_t size)
{
	ControlData *in = sample();
	char		path[128];
	int			fd;
	ssize_t		len;

	CHECK(control_write(directory, in, NULL) == CONTROL_OK);
	control_file(directory, "control", path);
	fd = open(path, O_RDONLY);
	len = read(fd, bytes, size);
	close(fd);
	free(in);
	CHECK(len > 100 && (size_t) len < size);
	return (size_t) len;
}

static void
every_flipped_byte_is_found(void)
{
	const char *directory = unit_directory();
	ControlData *out = calloc(1, sizeof(ControlData));
	ControlError err;
	char		bytes[8192];
	char		path[128];
	size_t		len = good_bytes(directory, bytes, sizeof(bytes));

	control_file(directory, "control", path);
	for (size_t i = 0; i < len; i++)
	{
		static const unsigned char flips[] = {0x01, 0x80, 0xff};

		for (int f = 0; f < (int) lengthof(flips); f++)
		{
			bytes[i] ^= flips[f];
			write_bytes(path, bytes, len);
			CHECK(control_read(directory, out, &err) == CONTROL_DAMAGED);
			bytes[i] ^= flips[f];
		}
	}
	write_bytes(path, bytes, len);
	CHECK(control_read(directory, out, &err) == CONTROL_OK);
	free(out);
	unit_remove_directory(directory);
}

static void
every_other_length_is_found(void)
{
	const char *directory = unit_directory();
	ControlData *out = calloc(1, sizeof(ControlData));
	ControlError err;
	char		bytes[8192] = {0};
	char	   *huge = calloc(1, 100 * 1024);
	char		path[128];
	size_t		len = good_bytes(directory, bytes, sizeof(bytes));

	control_file(directory, "control", path);
	for (size_t n = 0; n < len + 20; n++)
	{
		if (n == len)
			continue;
		write_bytes(path, bytes, n);
		CHECK(control_read(directory, out, &err) == CONTROL_DAMAGED);
		CHECK(err.message[0] != '\0' && err.sys_errno == 0);
	}
	memcpy(huge, bytes, len);
	write_bytes(path, huge, 100 * 1024);
	CHECK(control_read(directory, out, &err) == CONTROL_DAMAGED);
	free(huge);
	free(out);
	unit_remove_directory(directory);
}

/* A crash before the rename leaves some of control.tmp; the old file counts. */
static void
a_crash_before_the_rename(void)
{
	const char *directory = unit_directory();
	ControlData *in = sample();
	ControlData *out = calloc(1, sizeof(ControlData));
	ControlError err;
	char		bytes[8192];
	char		tmp[128];
	size_t		len = good_bytes(directory, bytes, sizeof(bytes));

	control_file(directory, "control.tmp", tmp);
	for (size_t n = 0; n <= len; n += 13)
	{
		write_bytes(tmp, bytes, n);
		CHECK(control_read(directory, out, &err) == CONTROL_OK);
		CHECK(memcmp(in, out, sizeof(*in)) == 0);
	}
	/* and it is no obstacle to the next one, even if that is shorter */
	write_bytes(tmp, bytes, len);
	in->reason[0] = '\0';
	memset(in->reason, 0, sizeof(in->reason));
	CHECK(control_write(directory, in, &err) == CONTROL_OK);
	CHECK(control_read(directory, out, &err) == CONTROL_OK);
	CHECK(memcmp(in, out, sizeof(*in)) == 0);
	write_bytes(tmp, bytes, len);
	CHECK(control_remove(directory, &err) == CONTROL_OK && access(tmp, F_OK) != 0);
	free(in);
	free(out);
	unit_remove_directory(directory);
}

static void
a_full_disk_leaves_the_old_file(void)
{
	const char *directory = unit_directory();
	ControlData *in = sample();
	ControlData *out = calloc(1, sizeof(ControlData));
	ControlData *changed = sample();
	ControlError err;
	struct rlimit limit;

	signal(SIGXFSZ, SIG_IGN);
	CHECK(control_write(directory, in, &err) == CONTROL_OK);
	changed->durable.term += 5;
	CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
	for (int room = 0; room < 200; room += 50)
	{
		limit.rlim_cur = room;
		CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
		CHECK(control_write(directory, changed, &err) == CONTROL_IO);
		limit.rlim_cur = RLIM_INFINITY;
		CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
		CHECK(err.sys_errno == EFBIG);
		CHECK(control_read(directory, out, &err) == CONTROL_OK);
		CHECK(memcmp(in, out, sizeof(*in)) == 0);
	}
	CHECK(control_write(directory, changed, &err) == CONTROL_OK);
	CHECK(control_read(directory, out, &err) == CONTROL_OK);
	CHECK(memcmp(changed, out, sizeof(*out)) == 0);
	CHECK(control_write("no/such/directory", in, &err) == CONTROL_IO);
	free(in);
	free(out);
	free(changed);
	unit_remove_directory(directory);
}

/* What could not be read back is not written. */
static void
impossible_values_are_refused(void)
{
	const char *directory = unit_directory();
	ControlData *good = sample();
	ControlData *bad = sample();
	ControlData *out = calloc(1, sizeof(ControlData));
	ControlError err;

	CHECK(control_write(directory, good, &err) == CONTROL_OK);
	bad->intent = 0;
	CHECK(control_write(directory, bad, &err) == CONTROL_DAMAGED);
	bad->intent = INTENT_DETACHED + 1;
	CHECK(control_write(directory, bad, &err) == CONTROL_DAMAGED);
	*bad = *good;
	bad->membership.members[1].voter.id = 1;
	CHECK(control_write(directory, bad, &err) == CONTROL_DAMAGED);
	*bad = *good;
	bad->membership.ack_policy = ACK_ALL + 1;
	CHECK(control_write(directory, bad, &err) == CONTROL_DAMAGED);
	CHECK(control_read(directory, out, &err) == CONTROL_OK);
	CHECK(memcmp(good, out, sizeof(*good)) == 0);
	free(good);
	free(bad);
	free(out);
	unit_remove_directory(directory);
}

static bool
decodes(const Membership *m)
{
	Membership *back = malloc(sizeof(*back));
	StreamBuf	buf = {0};
	bool		ok;

	membership_encode(m, &buf);
	ok = membership_decode(buf.data, buf.len, back);
	stream_buf_free(&buf);
	free(back);
	return ok;
}

static void
membership_rules(void)
{
	Membership *m = calloc(1, sizeof(*m));
	ConsensusMembership voters;

	sample_membership(m);
	CHECK(decodes(m));
	CHECK(membership_find(m, 5) == &m->members[2] && membership_find(m, 3) == NULL);
	CHECK(membership_find_name(m, "beta") == &m->members[1]);
	CHECK(membership_find_name(m, "Beta") == NULL);
	membership_voters(m, &voters);
	CHECK(voters.count == 3 && voters.rule == RULE_DESIGNATED && voters.designated == 2);
	CHECK(voters.member[2].id == 5 && voters.member[2].joining && voters.member[2].priority == 50);

#define REFUSED(change) (sample_membership(m), (change), CHECK(!decodes(m)))
	REFUSED(m->members[0].voter.id = 0);
	REFUSED(m->members[0].voter.id = 6);
	REFUSED(m->members[0].voter.id = 2);
	REFUSED(m->members[0].voter.type = 0);
	REFUSED(m->members[0].voter.type = 4);
	REFUSED(m->members[0].voter.joining = 2);
	REFUSED(m->members[0].voter.detached = 2);
	REFUSED(m->members[0].voter.priority = -1);
	REFUSED(strcpy(m->members[0].name, "beta"));
	REFUSED(strcpy(m->members[0].name, ""));
	REFUSED(m->rule = 3);
	REFUSED(m->ack_policy = 4);
#undef REFUSED
	free(m);
}

static void
membership_bytes(void)
{
	Membership *m = calloc(1, sizeof(*m));
	Membership *back = malloc(sizeof(*back));
	StreamBuf	buf = {0};

	sample_membership(m);
	membership_encode(m, &buf);
	for (size_t len = 0; len < buf.len; len++)
	{
		char	   *exact = malloc(len > 0 ? len : 1);

		memcpy(exact, buf.data, len);
		CHECK(!membership_decode(exact, len, back));
		free(exact);
	}
	stream_buf_u8(&buf, 0);
	CHECK(!membership_decode(buf.data, buf.len, back));
	buf.len--;
	unit_seed(5);
	for (int round = 0; round < 100000; round++)
	{
		size_t		at = unit_random() % buf.len;
		char		old = buf.data[at];

		buf.data[at] = (char) unit_random();
		if (membership_decode(buf.data, buf.len, back) &&
			(back->count > CONSENSUS_MAX_MEMBERS || !decodes(back)))
			CHECK(false);
		buf.data[at] = old;
	}
	CHECK(membership_decode(buf.data, buf.len, back) && memcmp(m, back, sizeof(*m)) == 0);
	stream_buf_free(&buf);
	free(back);
	free(m);
}

int
main(void)
{
	TEST(round_trip);
	TEST(full_membership);
	TEST(every_flipped_byte_is_found);
	TEST(every_other_length_is_found);
	TEST(a_crash_before_the_rename);
	TEST(a_full_disk_leaves_the_old_file);
	TEST(impossible_values_are_refused);
	TEST(membership_rules);
	TEST(membership_bytes);
	return unit_done();
}
