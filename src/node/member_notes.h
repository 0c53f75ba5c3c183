/*
 * member_notes.h - events for changes of the members that another node has made.
 */
#ifndef BATON_MEMBER_NOTES_H
#define BATON_MEMBER_NOTES_H

#include "node/coordinator.h"

extern void coordinator_note_members(Coordinator *c, const Membership *before);

#endif							/* BATON_MEMBER_NOTES_H */
