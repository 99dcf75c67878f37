//! Piecewise-constant baseline hazard: events over weighted exposure in each interval of a public
//! grid, shrunk to the overall hazard by a few pseudo-events so that none is zero or infinite.

use crate::privacy::predictor::TimeGrid;

/// Log hazards beyond this count as this, so that hazards are finite and positive.
const MOST_LOG_HAZARD: f64 = 500.0;
/// Events counted when there are none at all.
const LEAST_EVENTS: f64 = 0.5;
/// Least exposure, as a fraction of the grid's length.
const LEAST_EXPOSURE: f64 = 1e-6;

/// What the baseline needs of a row.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub time: f64,
    pub event: bool,
    /// Exponential of the linear predictor of the centred features.
    pub risk: f64,
}

/// Log hazards in the intervals, and cumulative hazards at their left edges, of rows in descending order of time,
/// for features that are not centred: `centre` is the linear predictor of their means.
pub(crate) fn fit(
    rows: impl Iterator<Item = Row>,
    grid: &TimeGrid,
    prior_events: f64,
    centre: f64,
) -> (Vec<f64>, Vec<f64>) {
    let n = grid.n_intervals();
    // The two vectors returned first hold events and exposure.
    let (mut events, mut exposure) = (vec![0.0; n], vec![0.0; n]);
    let width = |interval: usize| grid.edges[interval + 1] - grid.edges[interval];
    // Who is seen in a later interval lived through all earlier ones.
    let (mut interval, mut lived) = (n - 1, 0.0);
    for Row { time, event, risk } in rows {
        while interval > 0 && time <= grid.edges[interval] {
            interval -= 1;
            exposure[interval] = lived * width(interval);
        }
        events[interval] += f64::from(u8::from(event));
        exposure[interval] += risk * (time - grid.edges[interval]).clamp(0.0, width(interval));
        lived += risk;
    }
    for (earlier, exposure) in exposure[..interval].iter_mut().enumerate() {
        *exposure = lived * width(earlier);
    }
    let least_exposure = LEAST_EXPOSURE * (grid.edges[n] - grid.edges[0]);
    let overall =
        events.iter().sum::<f64>().max(LEAST_EVENTS) / exposure.iter().sum::<f64>().max(least_exposure);
    let mut cumulative = 0.0;
    for interval in 0..n {
        let hazard = (events[interval] + prior_events) / (exposure[interval] + prior_events / overall);
        let log_hazard = (hazard.ln() - centre).clamp(-MOST_LOG_HAZARD, MOST_LOG_HAZARD);
        events[interval] = log_hazard;
        exposure[interval] = cumulative;
        cumulative += log_hazard.exp() * width(interval);
    }
    (events, exposure)
}
