//! Numbers as text: what the source wrote, and what each language would write in its place.
//!
//! A language reads most numbers into a double and prints the shortest digits that lead back to it. That is
//! the same number for `5.00` (`5`) and another one for `9007199254740993`. A form takes the language's
//! spelling only where both texts denote the same decimal number; else the digits stay (T-4).

use std::{borrow::Cow, fmt};

/// A JSON number. Compares by spelling: `5` and `5.0` differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number<'a>(Cow<'a, str>);

/// A number in the spelling of one language.
pub(super) struct Spelling<'n> {
    /// The digits.
    pub(super) text: Cow<'n, str>,
    /// False if the language would have changed the value, and the source's digits stand instead.
    pub(super) stable: bool,
}

impl<'a> Number<'a> {
    /// A number that the parser has checked.
    pub(super) fn from_source(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// The digits as they were written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is written as an integer: neither fraction nor exponent.
    #[must_use]
    pub fn is_integer(&self) -> bool {
        !self.0.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
    }

    /// Its value, if it is written as an integer that fits.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        self.0.parse().ok()
    }

    /// Its value, if it is written as an integer that fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        self.0.parse().ok()
    }

    /// The nearest double; infinite beyond the range of doubles.
    #[must_use]
    pub fn as_f64(&self) -> f64 {
        // Every JSON number is a Rust float literal.
        self.0.parse().unwrap_or(f64::NAN)
    }

    /// Whether JavaScript reads and writes it without changing its value (T-4).
    #[must_use]
    pub fn is_js_stable(&self) -> bool {
        self.js().stable
    }

    /// The same number, free of the input that it was parsed from.
    #[must_use]
    pub fn into_owned(self) -> Number<'static> {
        Number(Cow::Owned(self.0.into_owned()))
    }

    /// `JSON.stringify(JSON.parse(…))`: ECMA-262 `Number::toString`; the sign of zero goes.
    pub(super) fn js(&self) -> Spelling<'_> {
        if let Some(text) = self.short_decimal() {
            return Spelling { text: Cow::Borrowed(text), stable: true };
        }
        self.spell(self.as_f64(), |value| ryu_js::Buffer::new().format_finite(value).to_owned())
    }

    /// `json.dumps(json.loads(…))`: integers of any size up to 4,300 digits, floats by `repr`.
    pub(super) fn python(&self) -> Spelling<'_> {
        /// `sys.get_int_max_str_digits()`, from Python 3.11 on.
        const INTEGER_DIGITS_MAX: usize = 4_300;
        if self.is_integer() {
            let digits = self.0.trim_start_matches('-').len();
            return Spelling { stable: digits <= INTEGER_DIGITS_MAX, ..self.integer() };
        }
        self.spell(self.as_f64(), |value| Shortest::of(value).python())
    }

    /// `json_encode(json_decode(…))` with `serialize_precision=-1`: integers of 64 bits, else floats.
    pub(super) fn php(&self) -> Spelling<'_> {
        if self.as_i64().is_some() {
            return self.integer();
        }
        self.spell(self.as_f64(), |value| Shortest::of(value).php())
    }

    /// The digits as they were written, in no language's spelling.
    pub(super) fn raw(&self) -> Spelling<'_> {
        Spelling { text: Cow::Borrowed(&self.0), stable: true }
    }

    /// A number of at most 15 digits without exponent, as JavaScript prints it: that many every double holds (C's
    /// `DBL_DIG`), so none is lost and no shorter text leads to the same double. `None` for others, and below 1e-6,
    /// where JavaScript begins to print exponents.
    fn short_decimal(&self) -> Option<&str> {
        let text = &*self.0;
        if text.len() > 16 || text.bytes().any(|byte| matches!(byte, b'e' | b'E')) {
            return None;
        }
        let Some((int, frac)) = text.split_once('.') else {
            return (text.len() <= 15).then(|| self.digits());
        };
        let frac = frac.trim_end_matches('0');
        let digits = if frac.is_empty() { int } else { &text[..int.len() + 1 + frac.len()] };
        match int {
            "-0" if frac.is_empty() => Some("0"),
            "0" | "-0" if frac.starts_with("000000") => None,
            _ => Some(digits),
        }
    }

    /// An integer in its own digits. No language has a negative zero among its integers.
    fn integer(&self) -> Spelling<'_> {
        Spelling { text: Cow::Borrowed(self.digits()), stable: true }
    }

    fn digits(&self) -> &str {
        if self.0 == "-0" { "0" } else { &self.0 }
    }

    /// The language's text for `value`, provided that it is the same number.
    fn spell(&self, value: f64, format: impl Fn(f64) -> String) -> Spelling<'_> {
        if value.is_finite() {
            let text = format(value);
            if Decimal::of(&text) == Decimal::of(&self.0) {
                return Spelling { text: Cow::Owned(text), stable: true };
            }
        }
        Spelling { text: Cow::Borrowed(&self.0), stable: false }
    }
}

impl fmt::Display for Number<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<u64> for Number<'_> {
    fn from(value: u64) -> Self {
        Self(Cow::Owned(value.to_string()))
    }
}

impl From<i64> for Number<'_> {
    fn from(value: i64) -> Self {
        Self(Cow::Owned(value.to_string()))
    }
}

/// A decimal number read off its text: `0.<significant digits> · 10^point`, compared by value.
struct Decimal<'t> {
    negative: bool,
    int: &'t str,
    frac: &'t str,
    point: i64,
    significant: usize,
}

impl<'t> Decimal<'t> {
    fn of(text: &'t str) -> Self {
        let negative = text.starts_with('-');
        let text = text.trim_start_matches('-');
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (int, frac) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        // What overflows is so large or small that no double comes near it.
        let exponent =
            exponent.parse().unwrap_or(if exponent.starts_with('-') { i64::MIN } else { i64::MAX });
        let digits = || int.bytes().chain(frac.bytes());
        let leading = digits().take_while(|&digit| digit == b'0').count();
        let trailing = digits().rev().take_while(|&digit| digit == b'0').count();
        let significant = (int.len() + frac.len()).saturating_sub(leading + trailing);
        let shift = i64::try_from(int.len()).unwrap_or(i64::MAX) - i64::try_from(leading).unwrap_or(i64::MAX);
        Self { negative, int, frac, point: shift.saturating_add(exponent), significant }
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        let all = self.int.bytes().chain(self.frac.bytes());
        all.skip_while(|&digit| digit == b'0').take(self.significant)
    }
}

impl PartialEq for Decimal<'_> {
    fn eq(&self, other: &Self) -> bool {
        if self.significant == 0 || other.significant == 0 {
            return self.significant == other.significant;
        }
        (self.negative, self.point) == (other.negative, other.point) && self.digits().eq(other.digits())
    }
}

/// The shortest digits that lead back to a double: `±0.<digits> · 10^point`.
struct Shortest {
    negative: bool,
    digits: String,
    point: i64,
}

impl Shortest {
    fn of(value: f64) -> Self {
        let mut buffer = ryu_js::Buffer::new();
        let decimal = Decimal::of(buffer.format_finite(value.abs()));
        let digits: String = decimal.digits().map(char::from).collect();
        let (digits, point) = if digits.is_empty() { ("0".to_owned(), 1) } else { (digits, decimal.point) };
        Self { negative: value.is_sign_negative(), digits, point }
    }

    /// `float_repr_style` short: an exponent below 1e-4 and from 1e16 on, of two digits or more.
    fn python(&self) -> String {
        if (-3..=16).contains(&self.point) {
            return self.fixed(".0");
        }
        let exponent = self.point - 1;
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}{}e{sign}{:02}", self.sign(), self.scientific(""), exponent.abs())
    }

    /// `php_gcvt` of 17 digits: an exponent below 1e-4 and from 1e17 on, with a fraction before it.
    fn php(&self) -> String {
        if self.digits == "0" {
            // PHP prints `-0` for -0.0, and reads that back as the integer 0.
            return "0".to_owned();
        }
        if (-3..=17).contains(&self.point) {
            return self.fixed("");
        }
        format!("{}{}e{:+}", self.sign(), self.scientific(".0"), self.point - 1)
    }

    fn sign(&self) -> &'static str {
        if self.negative { "-" } else { "" }
    }

    /// All places written out; `whole` follows a number without fraction.
    fn fixed(&self, whole: &str) -> String {
        let (sign, digits) = (self.sign(), &self.digits);
        let Ok(point) = usize::try_from(self.point) else {
            let zeros = usize::try_from(-self.point).unwrap_or_default();
            return format!("{sign}0.{}{digits}", "0".repeat(zeros));
        };
        match point {
            0 => format!("{sign}0.{digits}"),
            _ if point < digits.len() => format!("{sign}{}.{}", &digits[..point], &digits[point..]),
            _ => format!("{sign}{digits}{}{whole}", "0".repeat(point - digits.len())),
        }
    }

    /// One digit, point, the others; `whole` stands for the fraction of a single digit.
    fn scientific(&self, whole: &str) -> String {
        match self.digits.split_at(1) {
            (first, "") => format!("{first}{whole}"),
            (first, others) => format!("{first}.{others}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Source, then what Node 20, Python 3.11 and PHP 8.2 print; `!` marks kept digits.
    const TABLE: &[[&str; 4]] = &[
        ["5.00", "5", "5.0", "5"],
        ["49.99", "49.99", "49.99", "49.99"],
        ["1250.00", "1250", "1250.0", "1250"],
        ["-0", "0", "0", "0"],
        ["-0.0", "0", "-0.0", "0"],
        ["1E5", "100000", "100000.0", "100000"],
        ["0.0001", "0.0001", "0.0001", "0.0001"],
        ["0.00001", "0.00001", "1e-05", "1.0e-5"],
        ["1e-7", "1e-7", "1e-07", "1.0e-7"],
        ["1e16", "10000000000000000", "1e+16", "10000000000000000"],
        ["1e17", "100000000000000000", "1e+17", "1.0e+17"],
        ["1e21", "1e+21", "1e+21", "1.0e+21"],
        ["1.5e300", "1.5e+300", "1.5e+300", "1.5e+300"],
        ["5e-324", "5e-324", "5e-324", "5.0e-324"],
        ["9007199254740992", "9007199254740992", "9007199254740992", "9007199254740992"],
        ["9007199254740993", "9007199254740993!", "9007199254740993", "9007199254740993"],
        ["12345678901234567890", "12345678901234567890!", "12345678901234567890", "12345678901234567890!"],
        ["100000000000000000000", "100000000000000000000", "100000000000000000000", "1.0e+20"],
        [
            "0.1000000000000000055",
            "0.1000000000000000055!",
            "0.1000000000000000055!",
            "0.1000000000000000055!",
        ],
        ["1e400", "1e400!", "1e400!", "1e400!"],
        ["1e-400", "1e-400!", "1e-400!", "1e-400!"],
        [
            "-1e99999999999999999999",
            "-1e99999999999999999999!",
            "-1e99999999999999999999!",
            "-1e99999999999999999999!",
        ],
        ["0e99999999999999999999", "0", "0.0", "0"],
    ];

    /// T-2, T-4
    #[test]
    fn each_language_has_its_spelling_and_none_changes_a_value() {
        let marked =
            |spelling: Spelling| format!("{}{}", spelling.text, if spelling.stable { "" } else { "!" });
        for [source, js, python, php] in TABLE {
            let number = Number::from_source(source);
            assert_eq!(marked(number.js()), *js, "js of {source}");
            assert_eq!(marked(number.python()), *python, "python of {source}");
            assert_eq!(marked(number.php()), *php, "php of {source}");
        }
        let huge = "7".repeat(4_301);
        assert!(!Number::from_source(&huge).python().stable);
    }

    proptest! {
        /// The short way and the long one print the same.
        #[test]
        fn short_decimals_are_printed_as_doubles_are(source in r"-?(0|[1-9][0-9]{0,9})(\.[0-9]{0,7}[0-9])?") {
            let number = Number::from_source(&source);
            let mut buffer = ryu_js::Buffer::new();
            let printed = buffer.format_finite(number.as_f64());
            prop_assert_eq!(number.short_decimal().unwrap_or(printed), printed);
        }

        #[test]
        fn small_numbers_have_exponents(source in r"-?0\.0{3,8}[0-9]{0,5}") {
            let number = Number::from_source(&source);
            let mut buffer = ryu_js::Buffer::new();
            prop_assert_eq!(&*number.js().text, buffer.format_finite(number.as_f64()));
        }
    }

    /// ADM.5: what a range check asks of a number.
    #[test]
    fn integers_are_told_by_their_spelling() {
        let number = |text: &'static str| Number::from_source(text);
        assert!(number("8").is_integer() && number("-1").is_integer());
        assert!(!number("8.0").is_integer() && !number("8e0").is_integer());
        assert_eq!(number("18446744073709551615").as_u64(), Some(u64::MAX));
        assert_eq!(number("18446744073709551616").as_u64(), None);
        assert_eq!((number("-1").as_u64(), number("-1").as_i64()), (None, Some(-1)));
        assert!(number("1e400").as_f64().is_infinite());
    }
}
