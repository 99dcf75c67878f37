"""Break the private half on purpose, one protection at a time, and see an audit fail.

    python tests/audit/mutants.py            # all; a few minutes, mostly compiling
    python tests/audit/mutants.py half_noise

Works on a copy of the source; needs cargo and pytest. `tests/test_mutants.py` checks every day that the
patches still fit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECKS = "tests/trust/test_check_35_audits.py"
WORST = f"{CHECKS}::test_the_worst_pair_stays_within_the_claim"


@dataclass(frozen=True)
class Mutant:
    """Replacements in one Rust file, and the test that must fail."""

    file: str
    patches: tuple[tuple[str, str], ...]
    killer: str

    def apply(self, text: str) -> str:
        """Patch the source; each place must be there exactly once."""
        for old, new in self.patches:
            if text.count(old) != 1:
                raise ValueError(f"{self.file}: {text.count(old)} places for the patch of {old!r}")
            text = text.replace(old, new)
        return text


MECHANISM, ANSWER = "rust/privacy/mechanism.rs", "rust/privacy/answer.rs"
DRAW = "let noise = rounded_normal(scale, source)?;"

MUTANTS = {
    "half_noise": Mutant(
        MECHANISM,
        ((DRAW, "let noise = rounded_normal(scale.div_ceil(2), source)?;"),),
        f"{WORST}[one round]",
    ),
    "half_noise_of_marginals": Mutant(
        "rust/privacy/histogram.rs",
        (("outcome_size, stage.noise_scale, |", "outcome_size, stage.noise_scale.div_ceil(2), |"),),
        f"{WORST}[marginals]",
    ),
    "no_clip": Mutant(
        MECHANISM,
        (
            ("RADIUS as f64 / clip_norm.max(norm)", "RADIUS as f64 / clip_norm.max(0.0 * norm)"),
            ("(v * scale).clamp(-(RADIUS as f64), RADIUS as f64) as i64", "(v * scale) as i64"),
            ("squared_norm(lattice) > (RADIUS * RADIUS) as u64", "RADIUS < 0 && squared_norm(lattice) > 0"),
        ),
        f"{WORST}[one round]",
    ),
    "divide_by_n": Mutant(
        ANSWER,
        (
            (
                "let step = clip_norm / RADIUS as f64;",
                "let step = clip_norm / RADIUS as f64 / self.n_units() as f64;",
            ),
        ),
        f"{WORST}[one round]",
    ),
    "noise_used_for_all_directions": Mutant(
        MECHANISM,
        (("    for sum in sums {\n        " + DRAW, "    " + DRAW + "\n    for sum in sums {"),),
        f"{WORST}[one round]",
    ),
    "noise_used_in_all_rounds": Mutant(
        MECHANISM,
        (
            (
                DRAW,
                "let noise = rounded_normal(scale, &mut NoiseSource::seeded_for_tests(1))?;\n"
                "        let _ = &source;",
            ),
        ),
        f"{WORST}[one round]",
    ),
    "doubled_sensitivity": Mutant(
        MECHANISM,
        (
            ("RADIUS as f64 / clip_norm.max(norm)", "2.0 * RADIUS as f64 / clip_norm.max(norm)"),
            ("(v * scale).clamp(-(RADIUS as f64), RADIUS as f64) as i64", "(v * scale) as i64"),
            ("(RADIUS * RADIUS) as u64", "(4 * RADIUS * RADIUS) as u64"),
        ),
        f"{WORST}[one round]",
    ),
    "sensitivity_of_marginals_halved": Mutant(
        "rust/privacy/histogram.rs",
        (("(patients * squared).sqrt().next_up()", "((patients * squared).sqrt() / 2.0).next_up()"),),
        f"{WORST}[marginals]",
    ),
    "sample_is_everybody": Mutant(
        ANSWER,
        (("if self.plan.sampling_rate >= 1.0 {", "if self.plan.sampling_rate > 0.0 {"),),
        f"{CHECKS}::test_a_small_sample_hides_a_patient_as_claimed",
    ),
    "partial_likelihood": Mutant(
        "rust/privacy/hazards.rs",
        (
            (
                "let rows = scratch.eta",
                "let (all, seen) = (scratch.eta.clone(), seen.collect::<Vec<_>>());\n"
                "        let times: Vec<_> = seen.iter().flatten().map(|s| (s.interval, s.into)).collect();\n"
                "        let rows = scratch.eta",
            ),
            (
                "for (&(candidate, weight), loss) in self.owners.iter().zip(&scratch.risk) {",
                "let own = (seen.interval, seen.into);\n"
                "            let at_risk = |h: usize| {\n"
                "                let later = times.iter().enumerate().filter(|(_, time)| **time >= own);\n"
                "                later.map(|(row, _)| all[row * n + h].exp()).sum::<f64>()\n"
                "            };\n"
                "            let partial = (0..n).map(|h| seen.event * (at_risk(h).ln() - eta[h]));\n"
                "            for (&(candidate, weight), loss) in self.owners.iter().zip(partial) {",
            ),
        ),
        f"{CHECKS}::test_no_patient_moves_an_answer_through_the_others",
    ),
}


def build(copy: Path, mutant: Mutant | None) -> None:
    """Compile the copy, with the mutant's source in place of the sound one."""
    sound = {name: (ROOT / name).read_text() for name in {m.file for m in MUTANTS.values()}}
    if mutant is not None:
        sound[mutant.file] = mutant.apply(sound[mutant.file])
    for name, text in sound.items():
        if (copy / name).read_text() != text:
            (copy / name).write_text(text)
    command = ["cargo", "build", "--release", "--features", "python", "-q"]
    # Speed of the code matters less here than that of the compiler.
    quick = {"CARGO_PROFILE_RELEASE_LTO": "off", "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16"}
    target = ROOT / "target" / "mutants"
    environment = {**os.environ, **quick, "CARGO_TARGET_DIR": str(target), "PYO3_PYTHON": sys.executable}
    subprocess.run(command, cwd=copy, env=environment, check=True)
    suffix = "dylib" if sys.platform == "darwin" else "so"
    shutil.copy(target / "release" / f"lib_zodc.{suffix}", copy / "python" / "zodc" / "_zodc.abi3.so")


def passes(copy: Path, test: str) -> bool:
    """Run one test on the copy."""
    paths = os.pathsep.join([str(copy / "python"), sysconfig.get_paths()["purelib"]])
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test]
    environment = {**os.environ, "PYTHONPATH": paths}
    found = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    if found.returncode not in (0, 1):
        raise RuntimeError(found.stdout + found.stderr)
    last = [line for line in found.stdout.splitlines() if line.startswith("E ")][:1]
    print("   ", *last, flush=True)
    return found.returncode == 0


def main(names: list[str]) -> int:
    """Print a line per mutant; return 1 if one survives, or the sound source fails."""
    copy = ROOT / "target" / "mutants" / "source"
    shutil.rmtree(copy, ignore_errors=True)
    for name in ("rust", "python", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "*.so")
        # New times of change, so that cargo never takes an older build for this one.
        shutil.copytree(ROOT / name, copy / name, ignore=ignored, copy_function=shutil.copyfile)
    for name in ("Cargo.toml", "Cargo.lock", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, copy / name)
    chosen = {name: MUTANTS[name] for name in names or MUTANTS}
    survivors = 0
    if not names:
        build(copy, None)
        for test in sorted({mutant.killer for mutant in chosen.values()}):
            if not passes(copy, test):
                print(f"the sound source fails {test}")
                return 1
    for name, mutant in chosen.items():
        build(copy, mutant)
        survives = passes(copy, mutant.killer)
        survivors += survives
        print(
            f"{name:<34} {'SURVIVES' if survives else 'killed by'} {mutant.killer.split('::')[1]}", flush=True
        )
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
