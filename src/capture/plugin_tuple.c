/*
 * plugin_tuple.c - writes column values: PostgreSQL's own bytes where they mean
 * the same on every node, text elsewhere (plugin_relation.c decides per column).
 */
#include "capture/plugin.h"

#include "access/detoast.h"
#include "access/tupmacs.h"
#include "utils/memutils.h"

/* A value that needs memory: detoast or print it in row_context. */
static MemoryContext
enter_row_context(Plugin *plugin)
{
	plugin->row_context_used = true;
	return MemoryContextSwitchTo(plugin->row_context);
}

static void
put_varlena(Plugin *plugin, Datum value)
{
	struct varlena *v = (struct varlena *) DatumGetPointer(value);

	if (VARATT_IS_COMPRESSED(v) || VARATT_IS_EXTERNAL(v))
	{
		MemoryContext old = enter_row_context(plugin);

		v = detoast_attr(v);
		MemoryContextSwitchTo(old);
	}
	record_put_value(&plugin->out, 'b', VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v));
}

static void
put_text(Plugin *plugin, const PluginColumn *column, Datum value)
{
	MemoryContext old = enter_row_context(plugin);
	char	   *text = OutputFunctionCall((FmgrInfo *) &column->out, value);

	MemoryContextSwitchTo(old);
	record_put_value(&plugin->out, 't', text, strlen(text));
}

static void
put_value(Plugin *plugin, const PluginColumn *column, Datum value)
{
	if (column->format == 't')
		put_text(plugin, column, value);
	else if (column->typbyval)
	{
		char		bytes[sizeof(Datum)];

		store_att_byval(bytes, value, column->typlen);
		record_put_value(&plugin->out, 'b', bytes, column->typlen);
	}
	else if (column->typlen == -1)
		put_varlena(plugin, value);
	else if (column->typlen == -2)
		record_put_value(&plugin->out, 'b', DatumGetCString(value),
						 strlen(DatumGetCString(value)) + 1);
	else
		record_put_value(&plugin->out, 'b', DatumGetPointer(value), column->typlen);
}

/* A TOAST pointer whose chunks were not part of the change. */
static bool
is_unchanged_toast(const PluginColumn *column, Datum value)
{
	return column->typlen == -1 && VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value));
}

void
plugin_put_tuple(Plugin *plugin, const PluginRelation *rel,
				 const Datum *values, const bool *nulls,
				 const Datum *old_values, const bool *old_nulls, bool keys_only)
{
	record_put_natts(&plugin->out, rel->ncolumns);
	for (int i = 0; i < rel->ncolumns; i++)
	{
		const PluginColumn *column = &rel->columns[i];
		int			att = column->attidx;

		if (nulls[att] || (keys_only && !column->key))
			record_put_null(&plugin->out);
		else if (!is_unchanged_toast(column, values[att]))
			put_value(plugin, column, values[att]);
		else if (old_values != NULL && !old_nulls[att] &&
				 !is_unchanged_toast(column, old_values[att]))
			put_value(plugin, column, old_values[att]);
		else
			record_put_unchanged(&plugin->out);
	}
}
