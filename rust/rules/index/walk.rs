//! The values that an index looks up for a field: all that any predicate of it could be asked of.

use std::sync::Arc;

use crate::error::ReadError;
use crate::message::path::{FieldId, FieldTable};
use crate::message::value::Value;
use crate::message::{Fields, Read};

/// Calls `with` with the value at the field, or, where a list stands there or on the way, with that of each element,
/// lists within lists included, and with the list itself.
pub(in crate::rules) fn each_leaf<'m>(
    fields: &dyn Fields<'m>,
    paths: &FieldTable,
    field: FieldId,
    with: &mut dyn FnMut(&Value<'m>),
) -> Result<(), ReadError> {
    match fields.read(field)? {
        Read::Value(value) => leaves(&value, with),
        Read::InList { depth } => {
            if let Read::Value(list) = fields.read_prefix(field, depth)?
                && let Some(rest) = paths.path(field).segments.get(depth..)
            {
                below(&list, rest, with);
            }
        }
        Read::Absent | Read::Broken => {}
    }
    Ok(())
}

/// Recurses as deep as the message nests, which its reader bounds.
fn leaves<'m>(value: &Value<'m>, with: &mut dyn FnMut(&Value<'m>)) {
    with(value);
    if let Value::List(items) = value {
        items.iter().for_each(|item| leaves(item, with));
    }
}

fn below<'m>(value: &Value<'m>, rest: &[Arc<str>], with: &mut dyn FnMut(&Value<'m>)) {
    match (value, rest) {
        (Value::List(items), _) => items.iter().for_each(|item| below(item, rest, with)),
        (value, []) => with(value),
        (Value::Map(map), [key, rest @ ..]) => {
            if let Some(value) = map.get_str(key) {
                below(value, rest, with);
            }
        }
        _ => {}
    }
}
