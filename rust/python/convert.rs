//! Python objects as values: what a rule may read from a message or be given as a constant.
//!
//! | Python | value |
//! |---|---|
//! | None, bool, str, bytes | null, bool, text, bytes |
//! | int | int; uint above 2^63-1; beyond 64 bits an error, since rounding would match the wrong messages |
//! | float | double, NaN and infinities included |
//! | list, tuple | list |
//! | any Mapping, dataclass, pydantic model | map |
//! | aware datetime, timedelta | timestamp, duration |
//!
//! Anything else is an error that names its type. Nesting is bounded, so no message can exhaust the stack.

use std::cell::RefCell;
use std::sync::Arc;

use jiff::SignedDuration;
use pyo3::exceptions::PyKeyError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyDateTime, PyDelta, PyDeltaAccess, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple,
    PyType,
};
use smallvec::SmallVec;

use crate::message::value::{Key, MAX_DEPTH, Map, Text, Timestamp, Value};

/// Keeps text alive that values borrow: a value must not outlive the string object it points into, and another
/// thread may take that object out of the message meanwhile.
#[derive(Default)]
pub(super) struct Held<'py> {
    objects: RefCell<SmallVec<[Bound<'py, PyString>; 8]>>,
}

impl<'py> Held<'py> {
    /// The text of `string`, which lives as long as this does.
    #[inline(always)]
    pub(super) fn text(&self, string: Bound<'py, PyString>) -> Result<&str, String> {
        let text: *const str = string.to_str().map_err(|_| no_unicode())?;
        self.objects.borrow_mut().push(string);
        // SAFETY: the buffer belongs to the string object and never changes or moves while the object lives.
        // The object was just added to `objects`, from which nothing is ever taken, so it lives as long as `self`.
        Ok(unsafe { &*text })
    }
}

#[cold]
fn no_unicode() -> String {
    "holds text that is not Unicode (a lone surrogate); repair it, for example with \
     text.encode('utf-8', 'replace').decode()"
        .to_owned()
}

/// What became of looking up a key.
pub(super) enum Child<'py> {
    Found(Bound<'py, PyAny>),
    Missing,
    /// The object is a list or tuple: it has no keys, but elements.
    List,
    /// The object has neither keys nor elements.
    Scalar,
}

pub(super) fn is_list(object: &Bound<'_, PyAny>) -> bool {
    object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>()
}

/// Whether the object's type is a dataclass or a pydantic model: its attributes are its fields.
fn has_fields(object: &Bound<'_, PyAny>) -> bool {
    let py = object.py();
    let kind = object.get_type();
    kind.hasattr(intern!(py, "__dataclass_fields__")).unwrap_or(false)
        || kind.hasattr(intern!(py, "__pydantic_fields__")).unwrap_or(false)
}

/// Whether the object can be a message: something with named fields.
pub(super) fn is_message(object: &Bound<'_, PyAny>) -> bool {
    object.is_instance_of::<PyDict>() || object.cast::<PyMapping>().is_ok() || has_fields(object)
}

/// The objects of a list, those of lists in it included. The error is the problem alone.
pub(super) fn objects<'py>(list: &Bound<'py, PyAny>) -> Result<Vec<Bound<'py, PyAny>>, String> {
    let mut objects = Vec::with_capacity(list.len().unwrap_or(0));
    collect(list, 0, &mut objects)?;
    Ok(objects)
}

fn collect<'py>(list: &Bound<'py, PyAny>, depth: usize, into: &mut Vec<Bound<'py, PyAny>>) -> Result<(), String> {
    if depth == MAX_DEPTH {
        return Err(too_deep());
    }
    for item in list.try_iter().map_err(|error| failed(list, &error))? {
        let item = item.map_err(|error| failed(list, &error))?;
        if item.is_instance_of::<PyDict>() {
            into.push(item);
        } else if is_list(&item) {
            collect(&item, depth + 1, into)?;
        } else if !is_plain(&item) && is_message(&item) {
            into.push(item);
        }
    }
    Ok(())
}

#[cold]
fn too_deep() -> String {
    format!("is nested more than {MAX_DEPTH} levels deep; send it flatter, or as text")
}

/// Looks up `key` in a dict, Mapping, dataclass or model.
#[inline(always)]
pub(super) fn child<'py>(object: &Bound<'py, PyAny>, key: &Bound<'py, PyString>) -> Result<Child<'py>, String> {
    match object.cast::<PyDict>() {
        Ok(dict) => match dict.get_item(key) {
            Ok(item) => Ok(found(item)),
            Err(error) => Err(failed(object, &error)),
        },
        Err(_) => child_of_other(object, key),
    }
}

fn found(item: Option<Bound<'_, PyAny>>) -> Child<'_> {
    item.map_or(Child::Missing, Child::Found)
}

/// The same for all that is no dict.
fn child_of_other<'py>(object: &Bound<'py, PyAny>, key: &Bound<'py, PyString>) -> Result<Child<'py>, String> {
    if is_list(object) {
        return Ok(Child::List);
    }
    if is_plain(object) {
        return Ok(Child::Scalar);
    }
    if let Ok(mapping) = object.cast::<PyMapping>() {
        return match mapping.get_item(key) {
            Ok(item) => Ok(Child::Found(item)),
            Err(error) if error.is_instance_of::<PyKeyError>(object.py()) => Ok(Child::Missing),
            Err(error) => Err(failed(object, &error)),
        };
    }
    if has_fields(object) {
        return object.getattr_opt(key).map(found).map_err(|error| failed(object, &error));
    }
    Ok(Child::Scalar)
}

/// The object's own code raised while it was read.
#[cold]
fn failed(object: &Bound<'_, PyAny>, error: &PyErr) -> String {
    format!("{} raised while it was read: {error}", type_name(object))
}

/// Whether the object is of a type that surely has no fields; spares the slower questions.
fn is_plain(object: &Bound<'_, PyAny>) -> bool {
    object.is_none()
        || object.is_instance_of::<PyString>()
        || object.is_instance_of::<PyInt>()
        || object.is_instance_of::<PyFloat>()
        || object.is_instance_of::<PyBytes>()
}

pub(super) fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string())
}

/// The object as a value. The error is the problem alone; the caller knows the field.
#[inline(always)]
pub(super) fn value<'m, 'py>(object: Bound<'py, PyAny>, held: &'m Held<'py>) -> Result<Value<'m>, String> {
    match object.cast_into::<PyString>() {
        Ok(string) => Ok(Value::Text(Text::Borrowed(held.text(string)?))),
        Err(other) => nested(&other.into_inner(), held, 0),
    }
}

fn nested<'m, 'py>(object: &Bound<'py, PyAny>, held: &'m Held<'py>, depth: usize) -> Result<Value<'m>, String> {
    if let Ok(string) = object.cast::<PyString>() {
        return Ok(Value::Text(Text::Borrowed(held.text(string.clone())?)));
    }
    if let Ok(boolean) = object.cast::<PyBool>() {
        return Ok(Value::Bool(boolean.is_true()));
    }
    if object.is_instance_of::<PyInt>() {
        return integer(object);
    }
    if let Ok(float) = object.cast::<PyFloat>() {
        return Ok(Value::Double(float.value()));
    }
    if object.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(Value::Bytes(Arc::from(bytes.as_bytes())));
    }
    if depth == MAX_DEPTH {
        return Err(too_deep());
    }
    if is_list(object) {
        let items = object.try_iter().map_err(|error| failed(object, &error))?;
        let elements = items
            .map(|item| nested(&item.map_err(|error| failed(object, &error))?, held, depth + 1))
            .collect::<Result<Arc<[_]>, _>>()?;
        return Ok(Value::List(elements));
    }
    if let Ok(dict) = object.cast::<PyDict>() {
        let entries = dict.iter().map(|(key, item)| Ok((map_key(&key, held)?, nested(&item, held, depth + 1)?)));
        return Ok(Value::Map(Arc::new(Map::new(entries.collect::<Result<_, String>>()?))));
    }
    other(object, held, depth)
}

/// Types that are rare in messages.
#[cold]
fn other<'m, 'py>(object: &Bound<'py, PyAny>, held: &'m Held<'py>, depth: usize) -> Result<Value<'m>, String> {
    if let Ok(datetime) = object.cast::<PyDateTime>() {
        return timestamp(datetime).map(Value::Timestamp);
    }
    if let Ok(delta) = object.cast::<PyDelta>() {
        return Ok(Value::Duration(duration(delta)));
    }
    if let Ok(mapping) = object.cast::<PyMapping>() {
        let items = mapping.items().map_err(|error| failed(object, &error))?;
        let entries = items.iter().map(|pair| {
            let (key, item) =
                pair.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>().map_err(|error| failed(object, &error))?;
            Ok((map_key(&key, held)?, nested(&item, held, depth + 1)?))
        });
        return Ok(Value::Map(Arc::new(Map::new(entries.collect::<Result<_, String>>()?))));
    }
    if has_fields(object) {
        return fields_of(object, held, depth);
    }
    Err(format!(
        "holds a {}, which rules cannot read; send text, a number, a bool, None, a list, a mapping, bytes, \
         an aware datetime or a timedelta",
        type_name(object)
    ))
}

/// A dataclass or model as a map of its fields.
fn fields_of<'m, 'py>(object: &Bound<'py, PyAny>, held: &'m Held<'py>, depth: usize) -> Result<Value<'m>, String> {
    let py = object.py();
    let kind: Bound<'py, PyType> = object.get_type();
    let declared = kind
        .getattr_opt(intern!(py, "__dataclass_fields__"))
        .and_then(|fields| fields.map_or_else(|| kind.getattr(intern!(py, "__pydantic_fields__")), Ok))
        .and_then(|fields| fields.try_iter()?.collect::<PyResult<Vec<_>>>())
        .map_err(|error| failed(object, &error))?;
    let entries = declared.into_iter().map(|name| {
        let name = name.cast_into::<PyString>().map_err(|_| "has a field whose name is no text".to_owned())?;
        let item = object.getattr(&name).map_err(|error| failed(object, &error))?;
        Ok((Key::Text(Text::Borrowed(held.text(name)?)), nested(&item, held, depth + 1)?))
    });
    Ok(Value::Map(Arc::new(Map::new(entries.collect::<Result<_, String>>()?))))
}

fn integer(object: &Bound<'_, PyAny>) -> Result<Value<'static>, String> {
    if let Ok(number) = object.extract::<i64>() {
        return Ok(Value::Int(number));
    }
    object.extract::<u64>().map(Value::Uint).map_err(|_| {
        "holds an integer beyond 64 bits; send it as text, or as a float if its size is what counts".to_owned()
    })
}

fn map_key<'m, 'py>(key: &Bound<'py, PyAny>, held: &'m Held<'py>) -> Result<Key<'m>, String> {
    match nested(key, held, MAX_DEPTH) {
        Ok(Value::Text(text)) => Ok(Key::Text(text)),
        Ok(Value::Int(number)) => Ok(Key::Int(number)),
        Ok(Value::Uint(number)) => Ok(Key::Uint(number)),
        Ok(Value::Bool(boolean)) => Ok(Key::Bool(boolean)),
        _ => Err(format!("has a key of type {}; keys are text", type_name(key))),
    }
}

fn timestamp(datetime: &Bound<'_, PyDateTime>) -> Result<Timestamp, String> {
    let py = datetime.py();
    let failed = |error: PyErr| format!("holds a datetime that cannot be read: {error}");
    let offset = datetime.call_method0(intern!(py, "utcoffset")).map_err(failed)?;
    if offset.is_none() {
        return Err(
            "holds a datetime without a time zone; give it one, for example datetime.now(timezone.utc)".to_owned()
        );
    }
    // The difference to the epoch is exact to the microsecond; `timestamp()` would round to a float.
    let epoch = datetime
        .get_type()
        .call_method1(intern!(py, "fromtimestamp"), (0, datetime.getattr(intern!(py, "tzinfo")).map_err(failed)?))
        .map_err(failed)?;
    let since = datetime.sub(epoch).map_err(failed)?;
    let since = since.cast::<PyDelta>().map_err(|_| "holds a datetime that cannot be read".to_owned())?;
    Timestamp::from_nanos(duration(since).as_nanos()).ok_or_else(|| "holds a datetime out of range".to_owned())
}

fn duration(delta: &Bound<'_, PyDelta>) -> SignedDuration {
    SignedDuration::from_secs(i64::from(delta.get_days()) * 86_400 + i64::from(delta.get_seconds()))
        .saturating_add(SignedDuration::from_micros(i64::from(delta.get_microseconds())))
}
