/*
 * members.h - changes of the group that both people and nodes ask for.
 */
#ifndef BATON_MEMBERS_H
#define BATON_MEMBERS_H

#include "baton.h"

/*
 * On the primary: forget a member; stop or allow elections by themselves.  Return
 * when a majority has the change on disk; raise what the coordinator answers,
 * mostly ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE.
 */
extern void members_remove(NodeShared *node, uint16 id);
extern void members_set_paused(NodeShared *node, bool paused);

#endif							/* BATON_MEMBERS_H */
