//! Taking a dictionary apart key by key; what nobody took stays.

use cabled_wire::WireError;
use cabled_wire::plist::{DictExt, Dictionary, Value};
use cabled_wire::secret::SecretBytes;

/// A dictionary being decoded. Each `take` removes its key, so that [`Self::rest`] is what was not understood.
#[derive(Debug)]
pub(crate) struct Fields(Dictionary);

impl Fields {
    /// Starts on a message, which must be a dictionary.
    pub(crate) fn of(value: Value, what: &'static str) -> Result<Self, WireError> {
        match value {
            Value::Dictionary(dict) => Ok(Self(dict)),
            _ => Err(WireError::Type {
                key: what.to_owned(),
                expected: "a dictionary",
            }),
        }
    }

    pub(crate) fn from_dict(dict: Dictionary) -> Self {
        Self(dict)
    }

    /// Looks without taking.
    pub(crate) fn peek(&self) -> &Dictionary {
        &self.0
    }

    /// The message's own name, left in place.
    pub(crate) fn peek_text(&self, key: &'static str) -> Result<&str, WireError> {
        self.0.text(key)
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key)
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Result<String, WireError> {
        let text = self.0.text(key)?.to_owned();
        self.0.remove(key);
        Ok(text)
    }

    pub(crate) fn opt_text(&mut self, key: &'static str) -> Result<Option<String>, WireError> {
        let text = self.0.opt_text(key)?.map(str::to_owned);
        self.0.remove(key);
        Ok(text)
    }

    pub(crate) fn opt_data(&mut self, key: &'static str) -> Result<Option<Vec<u8>>, WireError> {
        let data = self.0.opt_data(key)?.map(<[u8]>::to_vec);
        self.0.remove(key);
        Ok(data)
    }

    pub(crate) fn opt_secret(&mut self, key: &'static str) -> Result<Option<SecretBytes>, WireError> {
        Ok(self.opt_data(key)?.map(SecretBytes::from))
    }

    pub(crate) fn opt_integer(&mut self, key: &'static str) -> Result<Option<i64>, WireError> {
        let n = self.0.opt_integer(key)?;
        self.0.remove(key);
        Ok(n)
    }

    pub(crate) fn opt_real(&mut self, key: &'static str) -> Result<Option<f64>, WireError> {
        let n = self.0.opt_real(key)?;
        self.0.remove(key);
        Ok(n)
    }

    pub(crate) fn opt_boolean(&mut self, key: &'static str) -> Result<Option<bool>, WireError> {
        let flag = self.0.opt_boolean(key)?;
        self.0.remove(key);
        Ok(flag)
    }

    pub(crate) fn opt_dict(&mut self, key: &'static str) -> Result<Option<Dictionary>, WireError> {
        let dict = self.0.opt_dict(key)?.cloned();
        self.0.remove(key);
        Ok(dict)
    }

    /// A whole number between 0 and `max`.
    pub(crate) fn opt_count(&mut self, key: &'static str, max: u64) -> Result<Option<u64>, WireError> {
        let Some(n) = self.opt_integer(key)? else {
            return Ok(None);
        };
        match u64::try_from(n) {
            Ok(n) if n <= max => Ok(Some(n)),
            _ => Err(WireError::Invalid {
                what: key,
                value: n.unsigned_abs(),
            }),
        }
    }

    /// An array of strings.
    pub(crate) fn opt_texts(&mut self, key: &'static str) -> Result<Option<Vec<String>>, WireError> {
        let Some(array) = self.0.opt_array(key)? else {
            return Ok(None);
        };
        let texts = array
            .iter()
            .map(|item| item.as_string().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| WireError::Type {
                key: key.to_owned(),
                expected: "an array of strings",
            })?;
        self.0.remove(key);
        Ok(Some(texts))
    }

    /// An array of dictionaries.
    pub(crate) fn opt_dicts(&mut self, key: &'static str) -> Result<Option<Vec<Dictionary>>, WireError> {
        match self.0.remove(key) {
            None => Ok(None),
            Some(Value::Array(items)) => items
                .into_iter()
                .map(|item| item.into_dictionary())
                .collect::<Option<Vec<_>>>()
                .map(Some)
                .ok_or_else(|| WireError::Type {
                    key: key.to_owned(),
                    expected: "an array of dictionaries",
                }),
            Some(_) => Err(WireError::Type {
                key: key.to_owned(),
                expected: "an array",
            }),
        }
    }

    /// What was not taken.
    pub(crate) fn rest(self) -> Dictionary {
        self.0
    }
}

/// A dictionary being built: absent options leave no key behind.
#[derive(Debug, Default)]
pub(crate) struct Builder(Dictionary);

impl Builder {
    /// Starts with keys that were not understood; typed ones replace them.
    pub(crate) fn on(extra: &Dictionary) -> Self {
        Self(extra.clone())
    }

    pub(crate) fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    pub(crate) fn opt(self, key: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.set(key, value),
            None => self,
        }
    }

    pub(crate) fn opt_secret(self, key: &str, value: Option<&SecretBytes>) -> Self {
        self.opt(key, value.map(|secret| Value::Data(secret.expose().to_vec())))
    }

    pub(crate) fn opt_data(self, key: &str, value: Option<&[u8]>) -> Self {
        self.opt(key, value.map(|data| Value::Data(data.to_vec())))
    }

    pub(crate) fn build_dict(self) -> Dictionary {
        self.0
    }

    pub(crate) fn build(self) -> Value {
        Value::Dictionary(self.0)
    }
}

/// An array of strings as a plist.
pub(crate) fn texts(items: &[String]) -> Value {
    Value::Array(items.iter().map(|item| Value::from(item.as_str())).collect())
}
