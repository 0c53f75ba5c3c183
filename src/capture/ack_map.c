/*
 * ack_map.c - see ack_map.h.
 */
#include "capture/ack_map.h"

#include <string.h>

static void
thin_out(AckMap *map)
{
	for (int i = 0; i < ACK_MAP_SIZE / 2; i++)
		map->pair[i] = map->pair[2 * i + 1];
	map->n = ACK_MAP_SIZE / 2;
	map->stride *= 2;
}

void
ack_map_note(AckMap *map, StreamPos pos, uint64 lsn)
{
	AckPair    *last = map->n > 0 ? &map->pair[map->n - 1] : NULL;

	Assert(last == NULL || (last->pos <= pos && last->lsn <= lsn));
	if (map->stride == 0)
		map->stride = 1;
	if (last != NULL && (last->pos == pos || map->noted < map->stride))
	{
		last->pos = pos;
		last->lsn = lsn;
		map->noted++;
		return;
	}
	if (map->n == ACK_MAP_SIZE)
		thin_out(map);
	map->noted = 1;
	map->pair[map->n].pos = pos;
	map->pair[map->n].lsn = lsn;
	map->n++;
}

uint64
ack_map_take(AckMap *map, StreamPos pos)
{
	uint64		lsn = 0;
	int			taken = 0;

	while (taken < map->n && map->pair[taken].pos <= pos)
		lsn = map->pair[taken++].lsn;
	map->n -= taken;
	if (taken > 0)
		memmove(&map->pair[0], &map->pair[taken], sizeof(AckPair) * map->n);
	if (map->n == 0)
		map->stride = 1;
	else if (taken > 0 && map->n < ACK_MAP_SIZE / 8 && map->stride > 1)
		map->stride /= 2;
	return lsn;
}
