//! What `Check::Strict` takes, as `serde_json` has it. The fuzz target `json` includes this file.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object as `serde_json` reads it, keys that come twice included.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// Whether `serde_json` decodes all text of a value, and no object has a key twice.
pub(crate) fn each_key_once(raw: &RawValue) -> bool {
    match raw.get().as_bytes()[0] {
        b'"' => serde_json::from_str::<String>(raw.get()).is_ok(),
        b'[' => {
            serde_json::from_str::<Vec<&RawValue>>(raw.get()).is_ok_and(|items| items.into_iter().all(each_key_once))
        }
        b'{' => serde_json::from_str::<Entries<'_>>(raw.get()).is_ok_and(|Entries(entries)| {
            let keys: BTreeSet<&String> = entries.iter().map(|(key, _)| key).collect();
            keys.len() == entries.len() && entries.iter().all(|(_, value)| each_key_once(value))
        }),
        _ => true,
    }
}
