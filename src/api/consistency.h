/*
 * consistency.h - tokens and what a session may wait for.
 */
#ifndef BATON_CONSISTENCY_H
#define BATON_CONSISTENCY_H

#include "baton.h"

typedef struct Token
{
	uint64		term;
	StreamPos	pos;
} Token;

/* consistency.c */
extern bool token_parse(const char *text, Token *token);
extern bool token_check(NodeShared *node, const Token *token);
extern bool token_reached(NodeShared *node, StreamPos pos);

/* policy.c: called by _PG_init, the settings before the others */
extern void consistency_define_settings(void);
extern void consistency_install_hooks(void);

#endif							/* BATON_CONSISTENCY_H */
