//! How servers of each kind behave: levels, sizes, and what they suffer from.
//!
//! CPU and memory come out as the contract states them (mean ± sd): 78 ± 12 and 82 ± 10 for ml_compute, 55 ± 15 and 87 ± 8 for
//! database, 28 ± 8 and 55 ± 12 for web_api, 82 ± 10 and 88 ± 8 for risk_analytics. The numbers here are those before values near
//! the top are bent (`vitals::high`), so they lie a little higher where memory is nearly full.
//!
//! The hours are set so that the whole fleet is busiest from 16 to 19 h on weekdays, when reports end and trainings begin.

use crate::season::Shape;

/// Behaviour of one kind of server. Percentages are of the whole machine, sizes in MiB/s.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Behaviour {
    /// Profile in the contract.
    pub(crate) profile: &'static str,
    /// CPU used (100 − idle): mean and standard deviation over servers and time.
    pub(crate) used: (f64, f64),
    /// Memory used: mean and standard deviation, before the bend.
    pub(crate) memory: (f64, f64),
    /// When it works.
    pub(crate) shape: Shape,
    /// CPU used that a full unit of the shape adds.
    pub(crate) swing: f64,
    /// Part of the CPU in use that the kernel takes.
    pub(crate) system_share: f64,
    /// Waiting for I/O at mean load, and per point of CPU in use above it.
    pub(crate) iowait: (f64, f64),
    /// Part of user time that is Java's.
    pub(crate) java_share: f64,
    /// Network in and out at mean load.
    pub(crate) network: (f64, f64),
    /// CLOSE_WAIT connections, back and front, at mean load.
    pub(crate) close_wait: (f64, f64),
    /// Cores, what the load average is counted in.
    pub(crate) cores: f64,
    /// Disk space in use in the middle of its cycle.
    pub(crate) disk: f64,
    /// Whether the beginning of the working day shows as `morning_spike`.
    pub(crate) morning_spike: bool,
    /// Relative frequency of incidents: memory leak, I/O saturation, CPU runaway, connection leak, full disk.
    pub(crate) incidents: [f64; 5],
}

/// The profiles of the LINBORG contract, in its order of the note.
pub(crate) const PROFILES: [Behaviour; 7] = [
    Behaviour {
        profile: "ml_compute",
        used: (78.0, 12.0),
        memory: (83.5, 10.0),
        shape: Shape::EveningAndNight,
        swing: 14.0,
        system_share: 0.05,
        iowait: (1.0, 0.01),
        java_share: 0.55,
        network: (12.0, 6.0),
        close_wait: (4.0, 3.0),
        cores: 16.0,
        disk: 58.0,
        morning_spike: false,
        incidents: [0.45, 0.1, 0.25, 0.05, 0.15],
    },
    Behaviour {
        profile: "database",
        used: (55.0, 15.0),
        memory: (89.5, 8.5),
        shape: Shape::Reports,
        swing: 40.0,
        system_share: 0.1,
        iowait: (15.0, 0.15),
        java_share: 0.06,
        network: (18.0, 30.0),
        close_wait: (14.0, 6.0),
        cores: 16.0,
        disk: 62.0,
        morning_spike: false,
        incidents: [0.2, 0.45, 0.05, 0.1, 0.2],
    },
    Behaviour {
        profile: "web_api",
        used: (28.0, 8.0),
        memory: (55.0, 12.0),
        shape: Shape::Web,
        swing: 19.0,
        system_share: 0.12,
        iowait: (0.8, 0.02),
        java_share: 0.6,
        network: (8.0, 22.0),
        close_wait: (12.0, 25.0),
        cores: 8.0,
        disk: 45.0,
        morning_spike: true,
        incidents: [0.2, 0.05, 0.25, 0.45, 0.05],
    },
    Behaviour {
        profile: "conductor_mgmt",
        used: (35.0, 10.0),
        memory: (60.0, 8.0),
        shape: Shape::Batches,
        swing: 18.0,
        system_share: 0.15,
        iowait: (2.0, 0.03),
        java_share: 0.7,
        network: (2.0, 2.0),
        close_wait: (10.0, 5.0),
        cores: 8.0,
        disk: 50.0,
        morning_spike: true,
        incidents: [0.35, 0.1, 0.2, 0.25, 0.1],
    },
    Behaviour {
        profile: "data_ingest",
        used: (45.0, 12.0),
        memory: (65.0, 10.0),
        shape: Shape::Feeds,
        swing: 28.0,
        system_share: 0.14,
        iowait: (4.0, 0.06),
        java_share: 0.7,
        network: (45.0, 38.0),
        close_wait: (10.0, 4.0),
        cores: 16.0,
        disk: 60.0,
        morning_spike: true,
        incidents: [0.25, 0.25, 0.15, 0.15, 0.2],
    },
    Behaviour {
        profile: "risk_analytics",
        used: (82.0, 10.0),
        memory: (91.0, 8.5),
        shape: Shape::Reports,
        swing: 24.0,
        system_share: 0.05,
        iowait: (1.5, 0.02),
        java_share: 0.7,
        network: (14.0, 8.0),
        close_wait: (6.0, 4.0),
        cores: 16.0,
        disk: 55.0,
        morning_spike: false,
        incidents: [0.45, 0.05, 0.35, 0.05, 0.1],
    },
    Behaviour {
        profile: "generic",
        used: (30.0, 10.0),
        memory: (45.0, 10.0),
        shape: Shape::Office,
        swing: 19.0,
        system_share: 0.15,
        iowait: (2.0, 0.03),
        java_share: 0.2,
        network: (2.0, 2.0),
        close_wait: (5.0, 5.0),
        cores: 8.0,
        disk: 50.0,
        morning_spike: true,
        incidents: [0.3, 0.15, 0.25, 0.1, 0.2],
    },
];

/// What the servers of the `new-profile` scenario turn into: a workload that no profile has.
///
/// Busy in kernel and network, at other hours than the profile it hides in.
pub(crate) const NEW_WORKLOAD: Behaviour = Behaviour {
    profile: "web_api",
    used: (66.0, 9.0),
    memory: (80.0, 7.0),
    shape: Shape::Batches,
    swing: 10.0,
    system_share: 0.4,
    iowait: (5.0, 0.05),
    java_share: 0.1,
    network: (60.0, 90.0),
    close_wait: (40.0, 60.0),
    cores: 16.0,
    disk: 55.0,
    morning_spike: false,
    incidents: [0.3, 0.1, 0.3, 0.2, 0.1],
};
