//! A message of which each field is read at most once, those of the objects of a list included.
//!
//! A field of the objects of a list is a column: what has been read of it, by the object's number. Rules go along the
//! columns they ask for and touch no others.
//!
//! Cost: up to [`ON_STACK`] fields nothing is allocated; with lists, an allocation for all of them and two for each
//! column.

use std::cell::OnceCell;

use crate::error::ReadError;
use crate::message::objects::{Listed, Objects};
use crate::message::path::FieldId;
use crate::message::{Fields, Read};

/// So many fields are remembered on the stack.
const ON_STACK: usize = 32;

/// So many fields of a message that has no more: less to clear.
const FEW_ON_STACK: usize = 8;

/// Calls `with` with a message that reads each of the `count` fields of `fields` at most once.
pub(super) fn with_cache<'m, T>(
    fields: &dyn Fields<'m>,
    count: usize,
    with: &mut dyn FnMut(&dyn Fields<'m>) -> T,
) -> T {
    if count <= FEW_ON_STACK {
        let slots = [const { OnceCell::new() }; FEW_ON_STACK];
        with(&Cached { fields, slots: &slots, lists: OnceCell::new() })
    } else if count <= ON_STACK {
        let slots = [const { OnceCell::new() }; ON_STACK];
        with(&Cached { fields, slots: &slots, lists: OnceCell::new() })
    } else {
        let slots: Vec<OnceCell<Read<'m>>> = std::iter::repeat_with(OnceCell::new).take(count).collect();
        with(&Cached { fields, slots: &slots, lists: OnceCell::new() })
    }
}

/// The list at a field, once it was asked for; `None` inside: no list stands there.
type List<'f, 'm> = OnceCell<Option<Columns<'f, 'm>>>;

struct Cached<'a, 'f, 'm> {
    fields: &'f dyn Fields<'m>,
    /// By field.
    slots: &'a [OnceCell<Read<'m>>],
    /// By field too; there once a list was asked for, so that messages without lists do not pay for it.
    lists: OnceCell<Box<[List<'f, 'm>]>>,
}

impl<'m> Fields<'m> for Cached<'_, '_, 'm> {
    fn read(&self, field: FieldId) -> Result<Read<'m>, ReadError> {
        match self.lend(field)? {
            Some(read) => Ok(read.clone()),
            None => self.fields.read(field),
        }
    }

    fn lend(&self, field: FieldId) -> Result<Option<&Read<'m>>, ReadError> {
        let Some(slot) = self.slots.get(field.index()) else { return Ok(None) };
        if slot.get().is_none() {
            // An error is not remembered: it is rare, and reading again gives the same.
            let read = self.fields.read(field)?;
            // Only reading could have filled the slot meanwhile, and then with the same.
            let _ = slot.set(read);
        }
        Ok(slot.get())
    }

    fn objects(&self, field: FieldId) -> Result<Option<Listed<'_, 'm>>, ReadError> {
        let lists = self.lists.get_or_init(|| std::iter::repeat_with(OnceCell::new).take(self.slots.len()).collect());
        let Some(list) = lists.get(field.index()) else { return self.fields.objects(field) };
        let known = match list.get() {
            Some(known) => known,
            None => {
                let objects = self.fields.objects(field)?;
                list.get_or_init(|| objects.map(|objects| Columns { objects, first: OnceCell::new() }))
            }
        };
        Ok(known.as_ref().map(|columns| Listed::Lent(columns)))
    }
}

/// The objects of a list, and what has been read of them.
struct Columns<'f, 'm> {
    objects: Listed<'f, 'm>,
    first: Next<'m>,
}

/// Columns are few, so they are a chain, to which a column can be added while others are lent.
type Next<'m> = OnceCell<Box<Column<'m>>>;

struct Column<'m> {
    field: FieldId,
    cells: Box<[OnceCell<Read<'m>>]>,
    next: Next<'m>,
}

impl<'m> Columns<'_, 'm> {
    fn column(&self, field: FieldId) -> &[OnceCell<Read<'m>>] {
        let mut at = &self.first;
        loop {
            let column = at.get_or_init(|| {
                let cells = std::iter::repeat_with(OnceCell::new).take(self.objects.len()).collect();
                Box::new(Column { field, cells, next: OnceCell::new() })
            });
            if column.field == field {
                return &column.cells;
            }
            at = &column.next;
        }
    }
}

impl<'m> Objects<'m> for Columns<'_, 'm> {
    fn len(&self) -> usize {
        self.objects.len()
    }

    fn read(&self, number: usize, field: FieldId) -> Result<Read<'m>, ReadError> {
        match self.lend(number, field)? {
            Some(read) => Ok(read.clone()),
            None => self.objects.read(number, field),
        }
    }

    fn lend(&self, number: usize, field: FieldId) -> Result<Option<&Read<'m>>, ReadError> {
        let cell = &self.column(field)[number];
        if let Some(read) = cell.get() {
            return Ok(Some(read));
        }
        let read = self.objects.read(number, field)?;
        Ok(Some(cell.get_or_init(|| read)))
    }
}
