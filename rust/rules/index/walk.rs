//! The values that an index looks up for a field: all that any predicate of it could be asked of.

use crate::error::ReadError;
use crate::message::path::{FieldId, FieldTable, Path};
use crate::message::value::Value;
use crate::message::{Fields, Read};
use crate::rules::element::Element;

/// A field, and the lists that it may lie in.
#[derive(Debug)]
pub(in crate::rules) struct Way {
    pub(in crate::rules) field: FieldId,
    /// By number of segments: the field that they lead to, if there is one. A pattern that asks for the field below a
    /// list has one there, and no other condition looks into lists.
    above: Box<[Option<FieldId>]>,
}

impl Way {
    /// `table` must have the fields of all rules that are looked up this way.
    pub(in crate::rules) fn new(field: FieldId, table: &FieldTable) -> Self {
        let Path { root, segments } = table.path(field);
        let above = (0..segments.len())
            .map(|depth| table.find(&Path { root: root.clone(), segments: segments[..depth].into() }));
        Self { field, above: above.collect() }
    }

    /// Calls `with` with the value at the field, or, where a list stands there or on the way, with that of each
    /// element, lists within lists included, and with the list itself.
    pub(in crate::rules) fn each_leaf<'m>(
        &self,
        fields: &dyn Fields<'m>,
        table: &FieldTable,
        with: &mut dyn FnMut(&Value<'m>),
    ) -> Result<(), ReadError> {
        match fields.lend(self.field)? {
            Some(read) => self.leaves_of(read, fields, table, with),
            None => self.leaves_of(&fields.read(self.field)?, fields, table, with),
        }
    }

    fn leaves_of<'m>(
        &self,
        read: &Read<'m>,
        fields: &dyn Fields<'m>,
        table: &FieldTable,
        with: &mut dyn FnMut(&Value<'m>),
    ) -> Result<(), ReadError> {
        match read {
            Read::Value(value) => leaves(value, with),
            Read::Absent | Read::Broken => {}
            Read::InList { depth } => {
                let Some(Some(list)) = self.above.get(*depth) else { return Ok(()) };
                let Some(objects) = fields.objects(*list)? else { return Ok(()) };
                for number in 0..objects.len() {
                    match objects.lend(number, self.field)? {
                        Some(Read::Value(value)) => leaves(value, with),
                        Some(Read::Absent | Read::Broken) => {}
                        Some(Read::InList { .. }) | None => {
                            self.each_leaf(
                                &Element::new(fields, table, *list, Some((&*objects, number))),
                                table,
                                with,
                            )?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Recurses as deep as the message nests, which its reader bounds.
fn leaves<'m>(value: &Value<'m>, with: &mut dyn FnMut(&Value<'m>)) {
    with(value);
    if let Value::List(items) = value {
        items.iter().for_each(|item| leaves(item, with));
    }
}
