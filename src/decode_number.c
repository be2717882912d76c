/*-------------------------------------------------------------------------
 *
 * decode_number.c
 *		Numbers as JSON writes them, and their values as far as those are
 *		exact.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>

#include "decode_number.h"

/* Numbers within these limits are surely within those of numeric. */
#define MAX_NUMBER_LEN		1000
#define MAX_EXPONENT_LEN	4

/* Decimal digits that any int64 can hold */
#define INT64_DIGITS		18

/*
 * A mantissa that the type holds exactly, times or divided by a power of ten
 * that it holds exactly, is rounded once, and so correctly.
 */
#define DOUBLE_MANTISSA		(INT64CONST(1) << DBL_MANT_DIG)
#define DOUBLE_POWER		22
#define FLOAT_MANTISSA		(INT64CONST(1) << FLT_MANT_DIG)
#define FLOAT_POWER			10

/* The value of a number: mantissa * 10 ^ power */
typedef struct Decimal
{
	bool		negative;
	bool		fits;			/* mantissa has all digits */
	int64		mantissa;
	int			power;
} Decimal;

static inline bool
is_digit(char c)
{
	return (unsigned char) (c - '0') <= 9;
}

static inline const char *
skip_digits(const char *p, const char *end)
{
	while (p < end && is_digit(*p))
		p++;
	return p;
}

const char *
sc_decode_number_end(const char *p, const char *end)
{
	const char *start = p;
	const char *digits;

	if (p < end && *p == '-')
		p++;
	digits = p;
	p = skip_digits(p, end);
	if (p == digits || (*digits == '0' && p != digits + 1))
		return NULL;

	if (p < end && *p == '.')
	{
		digits = ++p;
		p = skip_digits(p, end);
		if (p == digits)
			return NULL;
	}
	if (p < end && (*p == 'e' || *p == 'E'))
	{
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		digits = p;
		p = skip_digits(p, end);
		if (p == digits || p - digits > MAX_EXPONENT_LEN)
			return NULL;
	}
	return p - start <= MAX_NUMBER_LEN ? p : NULL;
}

bool
sc_decode_number_int64(const char *text, size_t len, int64 min, int64 max, int64 *number)
{
	bool		negative = (len > 0 && text[0] == '-');
	size_t		i = negative;

	if (len == i || len - i > INT64_DIGITS)
		return false;
	for (*number = 0; i < len; i++)
	{
		if (!is_digit(text[i]))
			return false;
		*number = *number * 10 + (text[i] - '0');
	}
	if (negative)
		*number = -*number;
	return *number >= min && *number <= max;
}

static bool
read_decimal(const char *text, size_t len, Decimal *decimal)
{
	const char *end = text + len;
	const char *p = text;
	const char *point = NULL;
	uint64		mantissa = 0;
	int			ndigits = 0;
	int			exponent = 0;

	if (sc_decode_number_end(text, end) != end)
		return false;

	decimal->negative = (*p == '-');
	if (decimal->negative)
		p++;
	for (; p < end && (is_digit(*p) || *p == '.'); p++)
	{
		if (*p == '.')
			point = p + 1;
		else
		{
			mantissa = mantissa * 10 + (*p - '0');
			ndigits++;
		}
	}
	decimal->fits = (ndigits <= INT64_DIGITS);
	decimal->mantissa = (int64) mantissa;
	decimal->power = point ? -(int) (p - point) : 0;

	if (p < end)
	{
		bool		negative = (*++p == '-');

		for (; p < end; p++)
		{
			if (is_digit(*p))
				exponent = exponent * 10 + (*p - '0');
		}
		decimal->power += negative ? -exponent : exponent;
	}
	return true;
}

/*
 * Is the value found by rounding once?  A negative zero is in doubt: a
 * number in jsonb is none, but a string may be.
 */
static inline bool
is_exact(const Decimal *decimal, int64 max_mantissa, int max_power)
{
	return FLT_EVAL_METHOD == 0 && decimal->fits &&
		decimal->mantissa <= max_mantissa &&
		decimal->power >= -max_power && decimal->power <= max_power &&
		!(decimal->negative && decimal->mantissa == 0);
}

bool
sc_decode_number_double(const char *text, size_t len, double *number)
{
	static const double powers[DOUBLE_POWER + 1] = {
		1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
		1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22
	};
	Decimal		decimal;

	if (!read_decimal(text, len, &decimal) ||
		!is_exact(&decimal, DOUBLE_MANTISSA, DOUBLE_POWER))
		return false;
	*number = (double) (decimal.negative ? -decimal.mantissa : decimal.mantissa);
	if (decimal.power < 0)
		*number /= powers[-decimal.power];
	else
		*number *= powers[decimal.power];
	return true;
}

bool
sc_decode_number_float(const char *text, size_t len, float *number)
{
	static const float powers[FLOAT_POWER + 1] = {
		1e0f, 1e1f, 1e2f, 1e3f, 1e4f, 1e5f, 1e6f, 1e7f, 1e8f, 1e9f, 1e10f
	};
	Decimal		decimal;

	if (!read_decimal(text, len, &decimal) ||
		!is_exact(&decimal, FLOAT_MANTISSA, FLOAT_POWER))
		return false;
	*number = (float) (decimal.negative ? -decimal.mantissa : decimal.mantissa);
	if (decimal.power < 0)
		*number /= powers[-decimal.power];
	else
		*number *= powers[decimal.power];
	return true;
}
