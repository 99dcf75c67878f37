//! What has left the private half, on disk before anything uses it, so that a run that was cut short can go on.
//!
//! A line for each record, with a CRC-32 of all records so far: the header, then for each question an *intent*
//! before patients are read, and its *answer* once noise is on it. Blanks keep the answer's place free, so
//! that a full disk is noticed before the question is asked. Noisy integers are all that is kept of patients;
//! numbers have a fixed width, so that sizes follow from the shape of the questions.
//!
//! A question with an intent is never asked again. What a power cut or a kill can leave behind is one torn
//! record at the end; anything else that does not agree with its CRC is damage, and refused.

use super::cohort::PrivateCohort;
use super::mechanism::add_noise;
use crate::error::{Error, Result};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// First word of the header, with the version of the format.
const FORMAT: &str = "zodc-journal 1";
/// Hexadecimal digits of a noisy sum.
const WIDTH: usize = 16;
const GIVE_UP: &str = "begin a new run under another name; what this one has spent stays spent";
const RESUME: &str = "free space or mend the folder, then resume: what is on record is kept";

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Query {
    Marginals,
    Round,
}

impl Query {
    const ALL: [Self; 2] = [Self::Marginals, Self::Round];

    fn word(self) -> &'static str {
        if self == Self::Round { "round" } else { "marginals" }
    }
}

/// A question on record.
#[derive(Debug, Clone, PartialEq)]
enum State {
    /// Its intent is on record, and nothing more yet.
    Open,
    /// The run ended between intent and answer.
    Lost,
    /// Noisy sums on the lattice.
    Answered(Vec<i64>),
}

/// The journal of one run, locked while it is open.
#[derive(Debug)]
pub struct Journal {
    file: File,
    name: String,
    header: String,
    is_private: bool,
    questions: Vec<(Query, State)>,
    crc: u32,
    /// Where the last whole record ends.
    end: u64,
    /// After a failed write nobody knows what is on disk.
    has_failed: bool,
}

impl Journal {
    /// Begins the journal of a run; `header` is public text in one line, such as JSON. `is_private` says
    /// where the run's noise comes from.
    ///
    /// # Errors
    /// [`Error::Journal`] when there is a file already, or none can be written; nothing is left behind then.
    pub fn create(path: &Path, header: &str, is_private: bool) -> Result<Self> {
        let name = name_of(path);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|e| io_fault(&name, &e))?;
        let mut journal = Self::empty(file, name);
        (journal.header, journal.is_private) = (header.replace('\n', " "), is_private);
        let begun = journal.begin(path);
        if begun.is_err() {
            // Nothing was asked yet; what remains would only stand in the way.
            let _ = std::fs::remove_file(path);
        }
        begun.map(|()| journal)
    }

    /// Opens the journal of a run that was cut short. A torn record at its end is cut off, and a question
    /// left without an answer is marked as lost.
    ///
    /// # Errors
    /// [`Error::Journal`] when it cannot be read, is in use, or is damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let name = name_of(path);
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(|e| io_fault(&name, &e))?;
        let mut journal = Self::empty(file, name);
        journal.lock()?;
        let mut bytes = Vec::new();
        journal.file.read_to_end(&mut bytes).map_err(|e| io_fault(&journal.name, &e))?;
        journal.read(&bytes)?;
        let cut = journal.file.set_len(journal.end).and_then(|()| journal.file.sync_all());
        cut.map_err(|e| io_fault(&journal.name, &e))?;
        if journal.is_open() {
            journal.append(&format!("lost {}", journal.questions.len() - 1), 0)?;
            journal.settle(State::Lost);
        }
        Ok(journal)
    }

    fn empty(file: File, name: String) -> Self {
        let (header, questions) = (String::new(), Vec::new());
        Self { file, name, header, is_private: false, questions, crc: 0, end: 0, has_failed: false }
    }

    fn begin(&mut self, path: &Path) -> Result<()> {
        self.lock()?;
        let status = if self.is_private { "private" } else { "NOT-PRIVATE" };
        self.append(&format!("{FORMAT} {status} {}", self.header), 0)?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|e| io_fault(&self.name, &e))
    }

    /// The text with which the run began.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// Number of questions on record, answered or lost.
    pub fn n_questions(&self) -> usize {
        self.questions.len()
    }

    /// What is on record of a question: `Some(None)` when its answer was lost.
    fn recorded(&self, question: usize, query: Query, n_sums: usize) -> Result<Option<Option<Vec<i64>>>> {
        let Some((known, state)) = self.questions.get(question) else { return Ok(None) };
        match state {
            _ if *known != query => Err(self.damaged()),
            State::Answered(sums) if sums.len() == n_sums => Ok(Some(Some(sums.clone()))),
            State::Lost if query == Query::Round => Ok(Some(None)),
            State::Lost => Err(self.lost_marginals()),
            _ => Err(self.damaged()),
        }
    }

    /// Puts on disk that a question will be asked, and keeps room for its answer.
    fn intend(&mut self, query: Query, n_sums: usize) -> Result<()> {
        let question = self.questions.len();
        let room = line(0, &answer(question, &vec![0; n_sums])).0.len();
        self.append(&intent(question, query), room)?;
        self.questions.push((query, State::Open));
        Ok(())
    }

    /// Puts the answer to the question just asked on disk.
    fn keep(&mut self, sums: &[i64]) -> Result<()> {
        self.append(&answer(self.questions.len() - 1, sums), 0)?;
        self.settle(State::Answered(sums.to_vec()));
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.questions.last().is_some_and(|(_, state)| *state == State::Open)
    }

    fn settle(&mut self, state: State) {
        if let Some(last) = self.questions.last_mut() {
            last.1 = state;
        }
    }

    /// Writes a record and as many blanks behind it, and waits until they are on disk. The blanks come
    /// first: without room for all, the record is not written.
    fn append(&mut self, body: &str, blanks: usize) -> Result<()> {
        if self.has_failed {
            return Err(self.fault("it could not be written before", RESUME));
        }
        let (text, crc) = line(self.crc, body);
        let room = if blanks > 0 { " ".repeat(text.len() + blanks) } else { String::new() };
        let written = self.write(&room).and_then(|()| self.write(&text)).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.has_failed = true;
            // Should this fail too, opening the file again does the same.
            let _ = self.file.set_len(self.end);
            return Err(io_fault(&self.name, &error));
        }
        self.crc = crc;
        self.end += text.len() as u64;
        Ok(())
    }

    fn write(&mut self, text: &str) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(text.as_bytes())
    }

    fn lock(&self) -> Result<()> {
        self.file.try_lock().map_err(|_| {
            self.fault("another process uses it, or its file system has no locks", "end that process first")
        })
    }

    /// Takes whole records in, and judges what remains at the end.
    fn read(&mut self, bytes: &[u8]) -> Result<()> {
        let Some((header, crc, end)) = record(bytes, 0, 0) else {
            return Err(match bytes.contains(&b'\n') {
                true => self.damaged(),
                false => self.fault("it holds no run: nothing was asked yet", "delete it, and begin anew"),
            });
        };
        let words = header.strip_prefix(FORMAT).and_then(|rest| rest.strip_prefix(' '));
        let (status, text) = words
            .and_then(|rest| rest.split_once(' '))
            .ok_or_else(|| self.fault("it is of another version of zodc", "resume with that version"))?;
        (self.is_private, self.header) = (status == "private", text.into());
        (self.crc, self.end) = (crc, end as u64);
        while let Some((body, crc, end)) = record(bytes, self.end as usize, self.crc) {
            self.take(body).ok_or_else(|| self.damaged())?;
            (self.crc, self.end) = (crc, end as u64);
        }
        let rest = &bytes[self.end as usize..];
        let is_torn = if self.is_open() { is_torn_answer(rest) } else { self.is_torn_intent(rest) };
        if is_torn { Ok(()) } else { Err(self.damaged()) }
    }

    /// Takes one record in; none when it cannot follow what came before.
    fn take(&mut self, body: &str) -> Option<()> {
        let (word, rest) = body.split_once(' ')?;
        let (place, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let place: usize = place.parse().ok()?;
        match word {
            "intent" if !self.is_open() && place == self.questions.len() => {
                let query = Query::ALL.into_iter().find(|query| query.word() == rest)?;
                self.questions.push((query, State::Open));
            }
            "answer" if self.is_open() && place + 1 == self.questions.len() => {
                let sums = rest.as_bytes().chunks(WIDTH).map(|digits| {
                    let digits = str::from_utf8(digits).ok()?;
                    Some(u64::from_str_radix(digits, 16).ok()?.cast_signed())
                });
                self.settle(State::Answered(sums.collect::<Option<_>>()?));
            }
            "lost" if self.is_open() && place + 1 == self.questions.len() => self.settle(State::Lost),
            _ => return None,
        }
        Some(())
    }

    /// Whether this is what can be left of writing the next intent over its blanks: what was not written
    /// yet may be missing, blank or zero. Anything else might be damage that hides a question asked.
    fn is_torn_intent(&self, rest: &[u8]) -> bool {
        Query::ALL.into_iter().any(|query| {
            let expected = line(self.crc, &intent(self.questions.len(), query)).0.into_bytes();
            let written = expected.into_iter().chain(std::iter::repeat(b' '));
            rest.iter().zip(written).all(|(&found, byte)| [byte, b' ', 0].contains(&found))
        })
    }

    fn damaged(&self) -> Error {
        self.fault("it is damaged, or no journal of zodc", GIVE_UP)
    }

    fn lost_marginals(&self) -> Error {
        self.fault("the run ended while the marginals were asked, and their answer is lost", GIVE_UP)
    }

    fn fault(&self, problem: &str, remedy: &str) -> Error {
        Error::Journal {
            path: self.name.clone(),
            errno: None,
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

impl PrivateCohort {
    /// Keeps this journal from here on, and takes the answers that it holds for those questions, which are
    /// not asked again.
    ///
    /// # Errors
    /// [`Error::Journal`] when it is of a run with another kind of noise, has lost the marginals or holds more
    /// answers than planned, or when questions were asked before.
    pub fn keep_journal(&mut self, journal: Journal) -> Result<()> {
        let planned = self.plan.marginals.len() as u64 + self.plan.rounds;
        if self.n_asked() > 0 {
            return Err(journal.fault("questions were asked before it", "keep it from the first question on"));
        }
        if journal.n_questions() as u64 > planned {
            let remedy = "resume with the options that the run was begun with";
            return Err(journal.fault("it holds more answers than the plan has questions", remedy));
        }
        if journal.is_private != self.is_private() {
            let remedy = "resume with noise from the same source";
            return Err(journal.fault("its noise is not from the same source", remedy));
        }
        if journal.questions.contains(&(Query::Marginals, State::Lost)) {
            return Err(journal.lost_marginals());
        }
        self.journal = Some(journal);
        Ok(())
    }

    fn n_asked(&self) -> usize {
        self.marginals_asked + self.rounds_asked as usize
    }

    /// Whether the journal holds the next question, so that asking it needs no work.
    pub(super) fn is_next_recorded(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| self.n_asked() < journal.n_questions())
    }

    /// The one way out: noisy sums of the question just spent, from the journal if it is on record there,
    /// else computed now and put on disk before they are returned. A lost answer is zero. A forked copy of the
    /// cohort answers nothing.
    pub(super) fn disclose(
        &mut self,
        query: Query,
        n_sums: usize,
        noise_scale: u64,
        sums: impl FnOnce(&mut Self) -> Result<Vec<i64>>,
    ) -> Result<Vec<i64>> {
        self.check_process()?;
        let question = self.n_asked() - 1;
        if let Some(journal) = &mut self.journal {
            if let Some(recorded) = journal.recorded(question, query, n_sums)? {
                return Ok(recorded.unwrap_or_else(|| vec![0; n_sums]));
            }
            journal.intend(query, n_sums)?;
        }
        let mut sums = sums(self)?;
        add_noise(&mut sums, noise_scale, &mut self.source)?;
        if let Some(journal) = &mut self.journal {
            journal.keep(&sums)?;
        }
        Ok(sums)
    }
}

fn intent(question: usize, query: Query) -> String {
    format!("intent {question} {}", query.word())
}

fn answer(question: usize, sums: &[i64]) -> String {
    let digits: String = sums.iter().map(|&sum| format!("{:0WIDTH$x}", sum.cast_unsigned())).collect();
    format!("answer {question} {digits}")
}

/// A record as it stands in the file, and the CRC of all records up to it.
fn line(crc: u32, body: &str) -> (String, u32) {
    let mut hasher = crc32fast::Hasher::new_with_initial(crc);
    hasher.update(body.as_bytes());
    let crc = hasher.finalize();
    (format!("{crc:08x} {body}\n"), crc)
}

/// The whole record at a place, the CRC up to it, and where it ends; none if there is no sound one.
fn record(bytes: &[u8], start: usize, before: u32) -> Option<(&str, u32, usize)> {
    let length = bytes[start..].iter().position(|&byte| byte == b'\n')?;
    let text = str::from_utf8(&bytes[start..=start + length]).ok()?;
    let body = text.get(9..text.len() - 1)?;
    let (expected, crc) = line(before, body);
    (text == expected).then_some((body, crc, start + length + 1))
}

/// Whether this can be left of writing an answer over its blanks. The question is not asked again whatever
/// it is; but with a line break inside, records have followed.
fn is_torn_answer(rest: &[u8]) -> bool {
    rest.iter().position(|&byte| byte == b'\n').is_none_or(|place| place + 1 == rest.len())
}

fn name_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn io_fault(name: &str, error: &std::io::Error) -> Error {
    let remedy = match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            "it holds a run that may be paid for: resume it, or name another"
        }
        std::io::ErrorKind::NotFound => "name the journal of a run that was cut short",
        _ => RESUME,
    };
    let (path, errno) = (name.into(), error.raw_os_error());
    Error::Journal { path, errno, problem: error.kind().to_string(), remedy: remedy.into() }
}
