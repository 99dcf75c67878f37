//! The journal: cut short anywhere, a run goes on without asking a question twice.

mod support;

use _zodc::Error;
use _zodc::marginals::codec::Codec;
use _zodc::privacy::answer::Round;
use _zodc::privacy::cohort::{PrivateCohort, RawOutcome};
use _zodc::privacy::journal::Journal;
use _zodc::privacy::noise::NoiseSource;
use _zodc::privacy::plan::Plan;
use _zodc::privacy::predictor::{Linear, Predictor};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use support::{CLASSIFICATION, marginals, options, patients, schema};

const ROUNDS: usize = 4;
const HEADER: &str = "{\"run_id\": \"x\"}";

/// A file of its own for each test, gone with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("zodc-{name}-{}.journal", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn cohort(source: NoiseSource) -> PrivateCohort {
    let schema = schema(CLASSIFICATION);
    let (cells, y) = patients(100, 1);
    let plan = Plan::new(&schema, &options(1.0)).unwrap();
    PrivateCohort::new(&schema, &cells, RawOutcome::Classes(&y), None, plan, source).unwrap()
}

/// Marginals, answers, and how many rounds were asked.
type Found = (String, Vec<Vec<f64>>, usize);

/// Marginals and rounds, from the journal where it has them; the answers, and how many rounds were asked.
fn run(journal: Journal) -> Result<Found, Error> {
    let mut cohort = cohort(NoiseSource::OperatingSystem);
    cohort.keep_journal(journal)?;
    let found = serde_json::to_string(&marginals(&schema(CLASSIFICATION), &mut cohort)).unwrap();
    let (mut answers, mut asked) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        answers.push(match cohort.recorded_round(1.0)? {
            Some(answer) => answer,
            None => {
                asked += 1;
                cohort.answer_differences(&[0.1; 300], 1.0)?
            }
        });
    }
    assert!(matches!(cohort.answer_differences(&[0.1; 300], 1.0), Err(Error::NotPlanned { .. })));
    Ok((found, answers, asked))
}

fn resumed(place: &Path) -> Result<Found, Error> {
    run(Journal::open(place)?)
}

fn whole(place: &Path) -> (Vec<u8>, Found) {
    let found = run(Journal::create(place, HEADER, true).unwrap()).unwrap();
    (std::fs::read(place).unwrap(), found)
}

/// Answers by question, as they stand in the file: whole ones.
fn answers_in(bytes: &[u8]) -> HashMap<String, String> {
    String::from_utf8_lossy(bytes)
        .split_inclusive('\n')
        .filter_map(|line| {
            let mut words = line.strip_suffix('\n')?.split(' ').skip(1);
            (words.next()? == "answer").then(|| (words.next().unwrap().into(), words.next().unwrap().into()))
        })
        .collect()
}

fn is_journal_fault<T>(found: Result<T, Error>, word: &str) -> bool {
    matches!(found, Err(error @ Error::Journal { .. }) if error.to_string().contains(word))
}

#[test]
fn check_13_a_whole_journal_is_replayed_bit_for_bit_and_nothing_is_asked() {
    let place = Place::new("whole");
    let (bytes, (found, answers, asked)) = whole(&place.0);
    assert_eq!(asked, ROUNDS);
    for _ in 0..2 {
        assert_eq!(resumed(&place.0).unwrap(), (found.clone(), answers.clone(), 0));
        assert_eq!(std::fs::read(&place.0).unwrap(), bytes);
    }
    assert_eq!(Journal::open(&place.0).unwrap().header(), HEADER);
}

/// Every byte near the end of a record, and some between.
fn places(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let near = |place: usize| bytes[place.saturating_sub(4)..bytes.len().min(place + 4)].contains(&b'\n');
    (0..=bytes.len()).filter(move |&place| near(place) || place % 157 == 0)
}

/// The file as a kill or a power cut may leave it: cut somewhere; or cut and the rest blank, as an answer is
/// written over blanks; or the rest zero.
#[test]
fn check_33_cut_at_any_byte_a_run_goes_on_and_asks_nothing_twice() {
    let (place, copy) = (Place::new("cut"), Place::new("cut-copy"));
    let (bytes, (found, ..)) = whole(&place.0);
    let lines: Vec<usize> = (0..bytes.len()).filter(|&i| bytes[i] == b'\n').map(|i| i + 1).collect();
    let (header, marginals_end) = (lines[0], lines[4]);
    let mut lost_rounds = 0;
    for end in places(&bytes) {
        let next_line = lines.iter().copied().find(|&line| line >= end).unwrap();
        for filler in [None, Some(b' '), Some(0)] {
            let mut cut = bytes[..end].to_vec();
            match filler {
                Some(b' ') if end <= header => continue,
                Some(byte) => cut.resize(next_line, byte),
                None => {}
            }
            std::fs::write(&copy.0, &cut).unwrap();
            let before = answers_in(&bytes[..end]);
            let n_intents = lines.iter().skip(1).step_by(2).filter(|&&line| line <= end).count();
            let found_now = resumed(&copy.0);
            if end < header {
                assert!(is_journal_fault(found_now, "nothing was asked"), "{end} {filler:?}");
                continue;
            }
            if n_intents > before.len() && end < marginals_end {
                assert!(is_journal_fault(found_now, "marginals"), "{end} {filler:?}");
                continue;
            }
            let (found_now, answers, asked) = found_now.unwrap_or_else(|e| panic!("{end} {filler:?}: {e}"));
            if end >= marginals_end {
                assert_eq!(found_now, found);
            }
            assert_eq!(asked, ROUNDS - n_intents.saturating_sub(2), "{end} {filler:?}");
            let is_lost = n_intents > before.len();
            lost_rounds += usize::from(is_lost);
            let zeros = answers.iter().filter(|a| a.iter().all(|&v| v == 0.0)).count();
            assert_eq!(zeros, usize::from(is_lost));
            // What was on disk before is what is there now, and no question has two answers.
            let text = std::fs::read(&copy.0).unwrap();
            let after = answers_in(&text);
            assert!(before.iter().all(|(question, answer)| after[question] == *answer));
            assert_eq!(text.windows(8).filter(|w| w == b" answer ").count(), after.len());
            assert_eq!(after.len() + usize::from(is_lost), 2 + ROUNDS);
            assert_eq!(resumed(&copy.0).unwrap(), (found_now, answers, 0), "a second time");
        }
    }
    assert!(lost_rounds > 20, "{lost_rounds}");
}

/// A round that is stopped while patients are read is lost when the run goes on, not asked again.
#[test]
fn check_33_a_question_is_on_record_before_patients_are_read_for_it() {
    let place = Place::new("intent");
    let mut stopped = cohort(NoiseSource::OperatingSystem);
    stopped.keep_journal(Journal::create(&place.0, HEADER, true).unwrap()).unwrap();
    let schema = schema(CLASSIFICATION);
    let codec = Codec::new(&schema, &marginals(&schema, &mut stopped)).unwrap();
    let model = || Predictor::Linear(Linear { coef: vec![0.1; codec.width()], intercept: vec![0.1] });
    let candidates: Vec<_> = (0..6).map(|_| vec![(1.0, model())]).collect();
    let round = Round { candidates: &candidates, codec: &codec, grid: None, clip_norm: 1.0 };
    assert_eq!(stopped.answer(&round, &AtomicBool::new(true)), Err(Error::Interrupted));
    drop(stopped);
    let (_, answers, asked) = resumed(&place.0).unwrap();
    assert_eq!((answers[0].as_slice(), asked), ([0.0; 3].as_slice(), ROUNDS - 1));
}

/// Any flipped bit is noticed, or is in the last record, whose question is then lost and not asked again.
#[test]
fn damage_is_refused() {
    let (place, copy) = (Place::new("damage"), Place::new("damage-copy"));
    let (bytes, _) = whole(&place.0);
    let last = bytes[..bytes.len() - 1].iter().rposition(|&b| b == b'\n').unwrap() + 1;
    for place in places(&bytes).filter(|&place| place < bytes.len()) {
        for bit in [0, 4] {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << bit;
            std::fs::write(&copy.0, &damaged).unwrap();
            match resumed(&copy.0) {
                Ok((_, _, asked)) => assert!(place >= last && asked == 0, "{place} {bit} {asked}"),
                Err(Error::Journal { .. }) => assert_eq!(std::fs::read(&copy.0).unwrap(), damaged),
                Err(other) => panic!("{other}"),
            }
        }
    }
    // Records left out, doubled or exchanged.
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&b| b == b'\n').collect();
    for edit in [vec![0, 1, 2, 5, 6], vec![0, 1, 2, 2], vec![0, 3, 4], vec![1, 2], vec![0, 0, 1]] {
        let edited: Vec<u8> = edit.iter().flat_map(|&i| lines[i]).copied().collect();
        std::fs::write(&copy.0, edited).unwrap();
        assert!(is_journal_fault(resumed(&copy.0), "damaged"), "{edit:?}");
    }
}

#[test]
fn a_file_that_is_no_journal_is_refused_and_kept() {
    let copy = Place::new("other");
    for (text, word) in [("", "nothing was asked"), ("age,died\n1,0\n", "no journal"), ("\n\n", "no journal")]
    {
        std::fs::write(&copy.0, text).unwrap();
        assert!(is_journal_fault(resumed(&copy.0), word), "{text}");
        assert_eq!(std::fs::read_to_string(&copy.0).unwrap(), text);
    }
    std::fs::remove_file(&copy.0).unwrap();
    assert!(is_journal_fault(resumed(&copy.0), "name the journal"));
}

#[test]
fn a_journal_has_one_user_one_owner_and_is_never_overwritten() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new("one");
    let journal = Journal::create(&place.0, HEADER, true).unwrap();
    assert_eq!(std::fs::metadata(&place.0).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(is_journal_fault(Journal::create(&place.0, HEADER, true), "paid for"));
    assert!(is_journal_fault(Journal::open(&place.0), "another process"));
    drop(journal);
    assert_eq!(Journal::open(&place.0).unwrap().n_questions(), 0);
}

#[test]
fn noise_of_a_test_and_private_noise_are_not_mixed() {
    let place = Place::new("seeded");
    let mut seeded = cohort(NoiseSource::seeded_for_tests(1));
    assert!(is_journal_fault(
        seeded.keep_journal(Journal::create(&place.0, HEADER, true).unwrap()),
        "not from the same source"
    ));
    std::fs::remove_file(&place.0).unwrap();
    seeded.keep_journal(Journal::create(&place.0, HEADER, false).unwrap()).unwrap();
    marginals(&schema(CLASSIFICATION), &mut seeded);
    drop(seeded);
    assert!(is_journal_fault(resumed(&place.0), "not from the same source"));
}

#[test]
fn a_journal_comes_before_the_first_question_and_holds_no_more_than_planned() {
    let place = Place::new("late");
    let mut late = cohort(NoiseSource::OperatingSystem);
    marginals(&schema(CLASSIFICATION), &mut late);
    let journal = Journal::create(&place.0, HEADER, true).unwrap();
    assert!(is_journal_fault(late.keep_journal(journal), "questions were asked before it"));
    std::fs::remove_file(&place.0).unwrap();
    whole(&place.0);
    let schema = schema(CLASSIFICATION);
    let (cells, y) = patients(100, 1);
    let fewer = Plan::new(&schema, &_zodc::privacy::plan::PlanOptions { rounds: 3, ..options(1.0) }).unwrap();
    let source = NoiseSource::OperatingSystem;
    let mut other =
        PrivateCohort::new(&schema, &cells, RawOutcome::Classes(&y), None, fewer, source).unwrap();
    let refused = other.keep_journal(Journal::open(&place.0).unwrap());
    assert!(is_journal_fault(refused, "more answers than the plan"));
}

/// Sizes follow from the shape of the questions: patients change the digits, not their number.
#[test]
fn sizes_do_not_depend_on_patients() {
    let place = Place::new("sizes");
    let size = |n: usize| {
        let _ = std::fs::remove_file(&place.0);
        let schema = schema(CLASSIFICATION);
        let (cells, y) = patients(n, 1);
        let plan = Plan::new(&schema, &options(0.01)).unwrap();
        let source = NoiseSource::OperatingSystem;
        let mut cohort =
            PrivateCohort::new(&schema, &cells, RawOutcome::Classes(&y), None, plan, source).unwrap();
        cohort.keep_journal(Journal::create(&place.0, HEADER, true).unwrap()).unwrap();
        let asked = _zodc::marginals::coarse_partitions(&schema, 64).unwrap();
        cohort.noisy_counts(&asked).unwrap();
        std::fs::metadata(&place.0).unwrap().len()
    };
    assert_eq!(size(1), size(5000));
}
