/*
 * member_client.h - asking another member of a group, or of one to join.
 */
#ifndef BATON_MEMBER_CLIENT_H
#define BATON_MEMBER_CLIENT_H

#include "baton.h"

/* What a member says of itself and its group. */
typedef struct GroupInfo
{
	char	   *conninfo;		/* by which it was reached */
	char	   *group_name;		/* NULL: that database is no node */
	uint8		group_id[16];
	uint16		node_id;
	char	   *node_name;
	char	   *state;
	uint64		term;
	char	   *leader_name;	/* NULL unknown */
	char	   *leader_conninfo;
	int			protocol;
	int			server_version;
	char	   *architecture;
	char	   *encoding;
	int64		clock_delta_us; /* its clock less ours */
} GroupInfo;

/*
 * Ask the member at conninfo; returns NULL with the reason in err.
 */
extern GroupInfo *member_describe(const char *conninfo, char *err, size_t errlen);

/*
 * Find the group's primary, starting from any member.  Raises
 * ERRCODE_CONNECTION_EXCEPTION if nobody answers,
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if there is no group or no primary.
 */
extern GroupInfo *member_find_primary(const char *conninfo);

/*
 * Raises ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if protocol, architecture,
 * encoding or clock differ too much from this server's.
 */
extern void member_check_alike(const GroupInfo *group);

/*
 * Does the member's configuration allow an ack policy?  0: yes; 1: no, with *detail
 * and *hint; -1: it cannot be asked, with the reason in err.
 */
extern int	member_ack_obstacle(const char *conninfo, char **detail, char **hint,
								char *err, size_t errlen);

/*
 * Have the primary add a member; returns its id and the membership.  Raises
 * what the primary answers.
 */
extern uint16 member_add(const GroupInfo *group, const char *name, const char *conninfo,
						 uint8 type, int32 priority, uint64 incarnation,
						 Membership *membership);

/* Have the primary at conninfo forget a member; reports a failure at elevel. */
extern bool member_remove(const char *conninfo, uint16 id, int elevel);

/*
 * The same for leave_group(): primary may be NULL (unknown).  Raises
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, or warns with force.
 */
extern void member_remove_or_explain(const char *primary, uint16 id, bool force);

/*
 * Have the primary at conninfo stop or allow elections by themselves.  Raises what it
 * answers, or ERRCODE_CONNECTION_EXCEPTION.
 */
extern void member_set_paused(const char *conninfo, bool paused);

#endif							/* BATON_MEMBER_CLIENT_H */
