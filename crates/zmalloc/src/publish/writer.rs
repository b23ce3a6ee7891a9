//! Copying the ledger into the file.

use super::REQUEST_AT;
use super::format::{self, buffer, buffer_at, header, put, put_small, put_text, scope};
use super::{INTERVAL, largest, place};
use crate::ledger::{self, ClassTotals, RequestFile};
use crate::{budget, process, scope as scopes};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// The file of this process. By `write`, never through a mapping, which would be a signal where memory is short.
pub(super) struct Writer {
    file: File,
    path: PathBuf,
    /// It lies in the directory of a `zm run`, which reads it when the program has ended.
    in_session: bool,
    turn: u64,
    buffer: Box<[u8; buffer::BYTES]>,
}

impl Writer {
    /// Makes the file; readers find no figures in it yet.
    pub(super) fn create(backend: &str) -> io::Result<Writer> {
        let (directory, in_session) = place::make_directory()?;
        let (pid, started_ns) = (std::process::id(), now_ns());
        let path = directory.join(place::file_name(pid, started_ns));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let mut bytes = vec![0; format::HEADER_BYTES];
        put(&mut bytes, header::MAGIC, format::MAGIC);
        put_small(&mut bytes, header::VERSION, format::PUBLISHED_VERSION);
        put_small(&mut bytes, header::FILE_BYTES, format::FILE_BYTES as u32);
        put_small(&mut bytes, header::PID, pid);
        put_small(&mut bytes, header::PARENT_PID, std::os::unix::process::parent_id());
        // The field that the kernel's manual calls `starttime`.
        put(&mut bytes, header::STARTED_TICKS, process::proc_stat_field(22).unwrap_or(0) as u64);
        put(&mut bytes, header::STARTED_NS, started_ns);
        put(&mut bytes, header::INTERVAL_NS, INTERVAL.as_nanos() as u64);
        put_text(&mut bytes, header::BACKEND, backend.as_bytes(), header::BACKEND_BYTES);
        let executable = std::env::current_exe().unwrap_or_default();
        put_text(&mut bytes, header::EXECUTABLE, executable.as_os_str().as_bytes(), header::TEXT_BYTES);
        let mut command = Vec::new();
        for argument in std::env::args_os() {
            command.extend_from_slice(argument.as_bytes());
            command.push(0);
        }
        put_text(&mut bytes, header::COMMAND, &command, header::TEXT_BYTES);
        let writer = Writer { file, path, in_session, turn: 0, buffer: Box::new([0; buffer::BYTES]) };
        match writer.file.set_len(format::FILE_BYTES as u64).and_then(|()| writer.file.write_all_at(&bytes, 0)) {
            Ok(()) => Ok(writer),
            Err(error) => {
                writer.remove();
                Err(error)
            }
        }
    }

    /// Copies the figures as they are now; the `last` time with the program's end.
    pub(super) fn copy(&mut self, last: bool) -> io::Result<()> {
        let turn = self.turn + 1;
        let bytes = &mut *self.buffer;
        let snapshot = scopes::snapshot();
        let (kept, total) = largest::largest(&snapshot.scopes);
        put(bytes, buffer::TURN, turn);
        put(bytes, buffer::TAKEN_NS, now_ns());
        put(bytes, buffer::ALLOCATED, snapshot.totals.allocated_bytes);
        put(bytes, buffer::FREED, snapshot.totals.freed_bytes);
        put(bytes, buffer::PEAK, (ledger::peak_memory() as u64).max(snapshot.totals.live_bytes()));
        put(bytes, buffer::THREADS, if cfg!(ledger_slots) { ledger::threads() as u64 } else { u64::MAX });
        put(bytes, buffer::SCOPES_TOTAL, total as u64);
        put(bytes, buffer::OUTSIDE_LIVE, snapshot.outside.live_bytes as u64);
        let details = ledger::details();
        let has_details = details.classes.iter().any(|class| *class != ClassTotals::default());
        put(bytes, buffer::HAS_DETAILS, u64::from(has_details));
        put(bytes, buffer::REQUESTED_ALLOCATED, details.requested.allocated_bytes);
        put(bytes, buffer::REQUESTED_FREED, details.requested.freed_bytes);
        put(bytes, buffer::SCOPES_WRITTEN, kept.len() as u64);
        for (index, class) in details.classes.iter().enumerate() {
            let at = buffer::CLASSES + index * buffer::CLASS_BYTES;
            let sums = [class.blocks_allocated, class.bytes_allocated, class.blocks_freed, class.bytes_freed];
            sums.into_iter().enumerate().for_each(|(place, sum)| put(bytes, at + 8 * place, sum));
        }
        for (index, (figures, parent)) in kept.into_iter().enumerate() {
            let at = buffer::SCOPES + index * scope::BYTES;
            let record = &mut bytes[at..at + scope::BYTES];
            put(record, scope::PARENT, parent.map_or(0, |parent| parent as u64 + 1));
            put(record, scope::OWN_LIVE, figures.own.live_bytes as u64);
            put(record, scope::TOTAL_LIVE, figures.total.live_bytes as u64);
            put(record, scope::TOTAL_PEAK, figures.total.peak_live_bytes);
            put(record, scope::TOTAL_ALLOCATED, figures.total.allocated_bytes);
            put(record, scope::TOTAL_FREED, figures.total.freed_bytes);
            put(record, scope::ENTERED, figures.total.entered);
            put(record, scope::LIMIT_SOFT, figures.limit_bytes_soft.unwrap_or(u64::MAX));
            put(record, scope::LIMIT_HARD, figures.limit_bytes_hard.unwrap_or(u64::MAX));
            put_text(record, scope::NAME, figures.name.as_bytes(), scope::NAME_BYTES);
        }
        self.file.write_all_at(bytes, buffer_at(turn))?;
        self.file.write_all_at(&turn.to_ne_bytes(), header::TURN as u64)?;
        self.turn = turn;
        if last {
            self.file.write_all_at(&now_ns().to_ne_bytes(), header::ENDED_NS as u64)?;
        }
        Ok(())
    }

    /// Does what `zm` asks of this process; what cannot be read is not asked.
    pub(super) fn serve(&self, purge: fn() -> bool) {
        let _ = RequestFile::new(&self.file, REQUEST_AT).serve(|request| {
            if let Some(limit) = request.limit {
                budget::set_limit_bytes_hard(limit.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)));
            }
            !request.purge || purge()
        });
    }

    /// The program ends in order.
    pub(super) fn end(mut self) {
        if self.in_session {
            let _ = self.copy(true);
        } else {
            self.remove();
        }
    }

    pub(super) fn remove(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64)
}
