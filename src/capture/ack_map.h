/*
 * ack_map.h - from an acknowledged place of the stream to a place in this node's
 * own WAL.  Server-free.
 *
 * Each flush of the log is noted as a pair: once the stream up to `pos` is
 * acknowledged, all own commits up to `lsn` are.  The table is bounded.  When it is
 * full every second pair goes, what it stood for waits for the pair behind it, and
 * from then on a pair stands for twice as many flushes: so all pairs stand for
 * about as many, and none waits for more than its share of what is outstanding.
 */
#ifndef BATON_ACK_MAP_H
#define BATON_ACK_MAP_H

#include "stream/stream.h"

#define ACK_MAP_SIZE 128		/* even */

typedef struct AckPair
{
	StreamPos	pos;
	uint64		lsn;
} AckPair;

typedef struct AckMap
{
	int			n;
	uint64		stride;			/* flushes that one pair stands for, 0: 1 */
	uint64		noted;			/* that the last pair stands for */
	AckPair		pair[ACK_MAP_SIZE]; /* rising */
} AckMap;

/* Own commits up to lsn lie before pos.  Both rise. */
extern void ack_map_note(AckMap *map, StreamPos pos, uint64 lsn);

/*
 * The stream up to `pos` is acknowledged: takes the pairs out that this covers.
 * Returns the last one's lsn, 0 if it covers none.
 */
extern uint64 ack_map_take(AckMap *map, StreamPos pos);

/* What sessions may wait for; each level is taken out of its map at its own pace. */
typedef enum AckedLevel
{
	ACKED_WRITE,
	ACKED_FLUSH,
	ACKED_APPLY,
	ACKED_LEVELS
} AckedLevel;

/* NodeShared.acked, see acked.c */
typedef struct Acked
{
	uint64		term;			/* the reign that this is about; 0: the node does not lead */
	uint64		captured;		/* own commits up to there are flushed in the log, or have no
								 * place in it */
	AckMap		map[ACKED_LEVELS];
	uint64		lsn[ACKED_LEVELS];	/* own commits up to there are acknowledged */
} Acked;

#endif							/* BATON_ACK_MAP_H */
