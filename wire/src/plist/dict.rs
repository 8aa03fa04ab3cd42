use super::{Dictionary, Value};
use crate::WireError;

/// Typed access to the keys of a message: what is missing or of another type is an error that names the key.
///
/// The `opt_` forms return `None` for a missing key and still refuse a wrong type.
pub trait DictExt {
    /// Text.
    ///
    /// # Errors
    /// [`WireError::Missing`], [`WireError::Type`].
    fn text(&self, key: &str) -> Result<&str, WireError>;
    /// Text, if the key is there.
    ///
    /// # Errors
    /// [`WireError::Type`].
    fn opt_text(&self, key: &str) -> Result<Option<&str>, WireError>;
    /// Bytes.
    ///
    /// # Errors
    /// [`WireError::Missing`], [`WireError::Type`].
    fn data(&self, key: &str) -> Result<&[u8], WireError>;
    /// Bytes, if the key is there.
    ///
    /// # Errors
    /// [`WireError::Type`].
    fn opt_data(&self, key: &str) -> Result<Option<&[u8]>, WireError>;
    /// An integer, read as [`as_integer`] does.
    ///
    /// # Errors
    /// [`WireError::Missing`], [`WireError::Type`].
    fn integer(&self, key: &str) -> Result<i64, WireError>;
    /// An integer, if the key is there.
    ///
    /// # Errors
    /// [`WireError::Type`].
    fn opt_integer(&self, key: &str) -> Result<Option<i64>, WireError>;
    /// A boolean; the integers 0 and 1 pass as well.
    ///
    /// # Errors
    /// [`WireError::Missing`], [`WireError::Type`].
    fn boolean(&self, key: &str) -> Result<bool, WireError>;
    /// A boolean, if the key is there.
    ///
    /// # Errors
    /// [`WireError::Type`].
    fn opt_boolean(&self, key: &str) -> Result<Option<bool>, WireError>;
    /// A real; integers pass as well.
    ///
    /// # Errors
    /// [`WireError::Missing`], [`WireError::Type`].
    fn real(&self, key: &str) -> Result<f64, WireError>;
    /// A real, if the key is there.
    ///
    /// # Errors
    /// [`WireError::Type`].
    fn opt_real(&self, key: &str) -> Result<Option<f64>, WireError>;
    /// A dictionary.
    ///
    /// # Errors
    /// [`WireError::Missing`], [`WireError::Type`].
    fn dict(&self, key: &str) -> Result<&Dictionary, WireError>;
    /// A dictionary, if the key is there.
    ///
    /// # Errors
    /// [`WireError::Type`].
    fn opt_dict(&self, key: &str) -> Result<Option<&Dictionary>, WireError>;
    /// An array.
    ///
    /// # Errors
    /// [`WireError::Missing`], [`WireError::Type`].
    fn array(&self, key: &str) -> Result<&[Value], WireError>;
    /// An array, if the key is there.
    ///
    /// # Errors
    /// [`WireError::Type`].
    fn opt_array(&self, key: &str) -> Result<Option<&[Value]>, WireError>;
}

macro_rules! accessors {
    ($($name:ident, $opt:ident, $type:ty, $expected:literal, $convert:expr;)*) => {$(
        fn $name(&self, key: &str) -> Result<$type, WireError> {
            self.$opt(key)?.ok_or_else(|| WireError::Missing { key: key.to_owned() })
        }

        fn $opt(&self, key: &str) -> Result<Option<$type>, WireError> {
            let Some(value) = self.get(key) else { return Ok(None) };
            let convert: fn(&Value) -> Option<$type> = $convert;
            convert(value).map(Some).ok_or_else(|| WireError::Type { key: key.to_owned(), expected: $expected })
        }
    )*};
}

impl DictExt for Dictionary {
    accessors! {
        text, opt_text, &str, "text", Value::as_string;
        data, opt_data, &[u8], "data", Value::as_data;
        integer, opt_integer, i64, "an integer", as_integer;
        boolean, opt_boolean, bool, "a boolean", as_boolean;
        real, opt_real, f64, "a number", as_real;
        dict, opt_dict, &Dictionary, "a dictionary", Value::as_dictionary;
        array, opt_array, &[Value], "an array", |value| value.as_array().map(Vec::as_slice);
    }
}

/// Reads an integer as the field writes them: signed, or unsigned by its low 64 bits (-13 travels as
/// 18446744073709551603 from some programs), or a real without a fraction. Spec: mobilebackup2, section 1.4.
#[must_use]
pub fn as_integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(n) => n.as_signed().or_else(|| n.as_unsigned().map(u64::cast_signed)),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the value is checked to be whole and below 2^53"
        )]
        Value::Real(real) if real.fract() == 0.0 && real.abs() < 9_007_199_254_740_992.0 => Some(*real as i64),
        _ => None,
    }
}

/// Reads a real, taking integers too.
#[must_use]
pub fn as_real(value: &Value) -> Option<f64> {
    match value {
        Value::Real(real) => Some(*real),
        other => as_integer(other).map(|n| n as f64),
    }
}

fn as_boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Boolean(b) => Some(*b),
        other => match as_integer(other) {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
    }
}
