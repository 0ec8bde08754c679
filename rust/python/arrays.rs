//! Columns out of Python: numpy arrays, lists, and what numpy makes an array of.
//!
//! Numbers and booleans are copied out of their arrays, so that nobody can change them meanwhile. Text and objects are
//! read one by one, as the fields of any other message. numpy is imported here and nowhere else, when it is needed.

use pyo3::buffer::{Element, PyBuffer};
use pyo3::exceptions::PyImportError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyList, PyMapping, PyTuple};

use super::convert::{self, Held};
use super::errors::message_error;
use crate::batch::columns::{Column, Columns, Layout, Masked};
use crate::rules::program::Program;

/// An error about one column.
fn wrong(name: &str, problem: impl Into<String>) -> PyErr {
    message_error(&format!("message.{name}"), problem.into())
}

pub(super) fn numpy(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import("numpy").map_err(|error| {
        let missing = PyImportError::new_err("columns need numpy: pip install 'turnout[arrays]'");
        missing.set_cause(py, Some(error));
        missing
    })
}

/// The columns of a mapping by dotted path, and their length. Text lives as long as `held`.
pub(super) fn columns<'m, 'py>(
    numpy: &Bound<'py, PyModule>,
    given: &Bound<'py, PyMapping>,
    program: &Program,
    held: &'m Held<'py>,
) -> PyResult<(Columns<'m>, usize)> {
    let mut names: Vec<String> = Vec::new();
    let mut objects = Vec::new();
    for pair in given.items()?.iter() {
        let (name, object) = pair.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>()?;
        names.push(name.extract().map_err(|_| {
            let problem = format!("a column is named by a {}; write its path as text", convert::type_name(&name));
            message_error("message", problem)
        })?);
        objects.push(object);
    }
    let layout = Layout::new(&names, program.fields(), "message").map_err(|error| wrong(&error.path, error.problem))?;
    let mut length: Option<(usize, &str)> = None;
    for (name, object) in names.iter().zip(&objects) {
        let found = object.len().map_err(|_| {
            wrong(name, format!("a {} is no column; give a numpy array or a list", convert::type_name(object)))
        })?;
        match length {
            None => length = Some((found, name)),
            Some((expected, first)) if found != expected => {
                let problem = format!("has {found} rows, and {first:?} has {expected}; columns have the same length");
                return Err(wrong(name, problem));
            }
            Some(_) => {}
        }
    }
    let length = length.map_or(0, |(length, _)| length);
    let columns = names.iter().zip(&objects).enumerate().map(|(number, (name, object))| {
        let column = if layout.reads(number) {
            column(numpy, name, object, held)?
        } else {
            Masked { column: Column::Unread, nulls: None }
        };
        // A list may have been changed by another thread, or by code of its elements.
        if rows(&column).is_some_and(|rows| rows != length) {
            return Err(wrong(name, "changed its length while it was read"));
        }
        Ok(column)
    });
    let columns = columns.collect::<PyResult<Vec<_>>>()?;
    Ok((Columns { layout, columns }, length))
}

fn rows(masked: &Masked<'_>) -> Option<usize> {
    match &masked.column {
        Column::Bool(values) => Some(values.len()),
        Column::Int(values) => Some(values.len()),
        Column::Uint(values) => Some(values.len()),
        Column::Double(values) => Some(values.len()),
        Column::Values(values) => Some(values.len()),
        Column::Unread => None,
    }
}

fn column<'m, 'py>(
    numpy: &Bound<'py, PyModule>,
    name: &str,
    object: &Bound<'py, PyAny>,
    held: &'m Held<'py>,
) -> PyResult<Masked<'m>> {
    let py = object.py();
    // numpy would make one type of all elements, text of the numbers beside text.
    if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
        return Ok(Masked { column: values(name, object, held)?, nulls: None });
    }
    let array = numpy.call_method1(intern!(py, "asarray"), (object,))?;
    let dimensions: usize = array.getattr(intern!(py, "ndim"))?.extract()?;
    if dimensions != 1 {
        return Err(wrong(name, format!("has {dimensions} dimensions; a column has one")));
    }
    let dtype = array.getattr(intern!(py, "dtype"))?;
    let kind: String = dtype.getattr(intern!(py, "kind"))?.extract()?;
    let size: usize = dtype.getattr(intern!(py, "itemsize"))?.extract()?;
    let column = match (&*kind, size) {
        ("b", _) => Column::Bool(copied(&array, "uint8")?),
        ("i", _) => Column::Int(copied(&array, "int64")?),
        ("u", _) => Column::Uint(copied(&array, "uint64")?),
        ("f", ..=8) => Column::Double(copied(&array, "float64")?),
        ("O" | "U" | "T", _) => values(name, &array.call_method0(intern!(py, "tolist"))?, held)?,
        _ => {
            let problem = format!("is of dtype {dtype}; give bool, int, uint, float up to 64 bits, text or objects");
            return Err(wrong(name, problem));
        }
    };
    let masked = numpy.getattr(intern!(py, "ma"))?;
    let nulls = if masked.call_method1(intern!(py, "isMaskedArray"), (object,))?.is_truthy()? {
        Some(copied(&masked.call_method1(intern!(py, "getmaskarray"), (object,))?, "uint8")?)
    } else {
        None
    };
    Ok(Masked { column, nulls })
}

/// A copy of an array's elements as `dtype`, which holds all that the array's own does.
fn copied<T: Element>(array: &Bound<'_, PyAny>, dtype: &str) -> PyResult<Vec<T>> {
    let py = array.py();
    PyBuffer::<T>::get(&array.call_method1(intern!(py, "astype"), (dtype,))?)?.to_vec(py)
}

fn values<'m, 'py>(name: &str, items: &Bound<'py, PyAny>, held: &'m Held<'py>) -> PyResult<Column<'m>> {
    let values = items
        .try_iter()?
        .enumerate()
        .map(|(row, item)| convert::value(item?, held).map_err(|problem| wrong(name, format!("row {row}: {problem}"))));
    Ok(Column::Values(values.collect::<PyResult<_>>()?))
}

/// Rule numbers as an array of int32 that can be written to.
pub(super) fn numbers<'py>(numpy: &Bound<'py, PyModule>, numbers: &[i32]) -> PyResult<Bound<'py, PyAny>> {
    let py = numpy.py();
    let bytes = PyByteArray::new_with(py, size_of_val(numbers), |bytes| {
        for (place, number) in bytes.chunks_exact_mut(size_of::<i32>()).zip(numbers) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        Ok(())
    })?;
    numpy.call_method1(intern!(py, "frombuffer"), (bytes, "int32"))
}
