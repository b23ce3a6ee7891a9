//! Values that are objects: read, changed and written back under the shard's lock.

use super::{NoRoom, Shard, Why};
use crate::entry::Form;
use crate::log::Queue;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use zmalloc_values::{Kind, Memory, Object};

impl<M: Memory> Shard<M> {
    /// Hands a key's value to `change` as an object, or `None` if there is no such key, and keeps what becomes of it.
    pub(crate) fn update<R>(
        &mut self,
        hash: u64,
        key: &[u8],
        now_ms: u64,
        change: impl FnOnce(&mut Option<Object<M>>) -> R,
    ) -> Result<R, NoRoom> {
        self.keep_up(key.len(), now_ms);
        let found = self.find_live(hash, key, || now_ms);
        let deadline_ms = found.and_then(|(_, place)| self.deadline_ms(place, &self.log.entry(place)));
        let (mut object, number) = match found {
            None => (None, None),
            Some((_, place)) => {
                let entry = self.log.entry(place);
                match entry.form {
                    Form::Bytes => (Some(Object::string(entry.value, &self.settings.thresholds)), None),
                    Form::Long => {
                        (Some(Object::string(self.longs.get(entry.index()), &self.settings.thresholds)), None)
                    }
                    Form::Object => {
                        let number = entry.index();
                        (self.objects.get_mut(number).take(), Some(number))
                    }
                }
            }
        };
        let before = object.as_ref().map(|object| (object.kind(), object.charged_size()));
        // Whatever it did before it unwound is kept.
        let result = catch_unwind(AssertUnwindSafe(|| change(&mut object)));
        let kept = self.keep(hash, key, (found.is_some(), number, before), object, deadline_ms, now_ms);
        match result {
            Ok(result) => kept.map(|()| result),
            Err(panic) => resume_unwind(panic),
        }
    }

    fn keep(
        &mut self,
        hash: u64,
        key: &[u8],
        (was_there, number, before): (bool, Option<u32>, Option<(Kind, usize)>),
        object: Option<Object<M>>,
        deadline_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<(), NoRoom> {
        if let (Some(_), Some((kind, charged))) = (number, before) {
            // The cell is empty: what was charged for it and counted as its kind is put right first.
            let queue = self.find(hash, key).map_or(Queue::Main, |slot| self.queue_of(self.index.place(slot)));
            self.beside -= charged;
            self.beside_in[queue as usize] -= charged;
            self.kinds[kind as usize] -= 1;
            self.kinds[Kind::String as usize] += 1;
            if let Some(object) = object.as_ref().filter(|object| object.kind() != Kind::String) {
                self.beside += object.charged_size();
                self.beside_in[queue as usize] += object.charged_size();
                self.kinds[Kind::String as usize] -= 1;
                self.kinds[object.kind() as usize] += 1;
            }
        }
        match object {
            None => {
                if was_there && let Some((slot, _)) = self.find_live(hash, key, || now_ms) {
                    self.take_out(slot, Why::Removed);
                }
                Ok(())
            }
            Some(object) if object.kind() == Kind::String => {
                let element = object.string_bytes().expect("a string");
                let set = self.set(hash, key, &element.bytes(), deadline_ms, now_ms);
                if let (Err(_), Some(number), Some(slot)) = (set, number, self.find(hash, key)) {
                    // What it became cannot be written elsewhere: it stays an object.
                    let queue = self.queue_of(self.index.place(slot));
                    self.beside += object.charged_size();
                    self.beside_in[queue as usize] += object.charged_size();
                    *self.objects.get_mut(number) = Some(object);
                }
                set
            }
            Some(object) => match number {
                Some(number) => {
                    *self.objects.get_mut(number) = Some(object);
                    if let Some((slot, place)) = self.find_live(hash, key, || now_ms) {
                        self.note_use(slot, place, || now_ms);
                    }
                    self.trim(now_ms);
                    Ok(())
                }
                None => self.add_object(hash, key, object, deadline_ms, now_ms),
            },
        }
    }

    fn add_object(
        &mut self,
        hash: u64,
        key: &[u8],
        object: Object<M>,
        deadline_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<(), NoRoom> {
        let charged = object.charged_size();
        self.make_room(self.first_queue(), 0, charged + self.objects.next_growth(), now_ms)?;
        let number = self.objects.insert(Some(object)).map_err(|_| NoRoom)?;
        self.beside += charged;
        let stored = self.store(hash, (Form::Object, key, &number.to_le_bytes()), deadline_ms, now_ms);
        if stored.is_err() {
            self.drop_beside(Form::Object, number);
        }
        stored
    }
}
