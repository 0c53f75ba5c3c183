/*
 * value.c - values of the stream as Datums.
 *
 * Nearly every value travels in PostgreSQL's own form, so that there is no
 * parsing here: a varlena gets its length word back, other bytes are copied
 * to where they are aligned.
 */
#include "apply/apply.h"

static void
bad_value(const RecordValue *value, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the stream has a value of kind \"%c\" and %u bytes for column \"%s\", which does not fit its type",
					value->kind, value->len, name)));
}

/* Bytes of a type that is passed by value. */
static Datum
word_value(const ApplyColumn *column, const char *bytes)
{
	int16		two;
	int32		four;

	switch (column->len)
	{
		case sizeof(char):
			return CharGetDatum(*bytes);
		case sizeof(int16):
			memcpy(&two, bytes, sizeof(two));
			return Int16GetDatum(two);
		case sizeof(int32):
			memcpy(&four, bytes, sizeof(four));
			return Int32GetDatum(four);
		default:
			{
				Datum		datum = 0;

				memcpy(&datum, bytes, Min(sizeof(Datum), column->len));
				return datum;
			}
	}
}

static Datum
native_value(const ApplyColumn *column, const RecordValue *value, const char *name)
{
	char	   *bytes;

	if (column->byval)
	{
		if (value->len != column->len)
			bad_value(value, name);
		return word_value(column, value->data);
	}
	if (column->len == -1)
	{
		if (value->len > MaxAllocSize - VARHDRSZ)
			bad_value(value, name);
		bytes = palloc(value->len + VARHDRSZ);
		SET_VARSIZE(bytes, value->len + VARHDRSZ);
		memcpy(VARDATA(bytes), value->data, value->len);
		return PointerGetDatum(bytes);
	}
	if (column->len == -2 ?
		value->len == 0 || value->data[value->len - 1] != '\0' :
		value->len != column->len)
		bad_value(value, name);
	bytes = palloc(value->len);
	memcpy(bytes, value->data, value->len);
	return PointerGetDatum(bytes);
}

/*
 * name: of the column, for messages.  Raises ERRCODE_DATA_CORRUPTED for bytes
 * that do not fit the type, and whatever the type's input function raises.
 */
Datum
apply_value(ApplyColumn *column, const RecordValue *value, const char *name)
{
	Datum		datum;

	if (value->kind == 't')
	{
		char	   *text = pnstrdup(value->data, value->len);

		datum = InputFunctionCall(&column->input, text, column->ioparam, column->typmod);
		return datum;
	}
	if (value->kind != 'b')
		bad_value(value, name);
	datum = native_value(column, value, name);
	if (column->coerces)
		datum = FunctionCall3(&column->coerce, datum, Int32GetDatum(column->typmod),
							  BoolGetDatum(false));
	return datum;
}
