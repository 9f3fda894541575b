"""The baselines by name."""

from jattr.baselines import (
    classifier,
    double_reconstruction,
    final_layer,
    fingerprint,
    frequency,
    thresholded,
)
from jattr.baselines.base import Baseline

BASELINES: dict[str, Baseline] = {
    "classifier": Baseline(
        classifier.fit,
        classifier.ClassifierConfig,
        needs="images of two or more sources",
        source="Yu, Davis, Fritz, Attributing Fake Images to GANs, ICCV 2019, arXiv 1811.08180",
        simplified="a small residual network with group normalisation, which also sees the"
        " amplified high frequencies;"
        " minutes of training, no fingerprint branch",
    ),
    "fingerprint": Baseline(
        fingerprint.fit,
        fingerprint.FingerprintConfig,
        needs="pictures",
        source="Marra et al., Do GANs leave artificial fingerprints?, arXiv 1812.11842",
        simplified="the denoiser is a local Wiener filter",
    ),
    "frequency": Baseline(
        frequency.fit,
        frequency.FrequencyConfig,
        needs="images of two or more sources",
        source="Frank et al., Leveraging Frequency Analysis for Deep Fake Image Recognition, arXiv"
        " 2003.08685",
        simplified="their small network with space-to-depth in place of pooling, a few epochs",
    ),
    "thresholded": Baseline(
        thresholded.fit,
        thresholded.ThresholdedConfig,
        needs="weights, to search",
        source="Wang et al., Where Did I Come From? (RONAN), NeurIPS 2023, arXiv 2305.18439",
        simplified="a search ends at the rounding floor, or when 50 steps find nothing lower;"
        " losses are divided by the"
        " image's entropy; 50 known images of each source",
    ),
    "final-layer": Baseline(
        final_layer.fit,
        final_layer.FinalLayerConfig,
        needs="weights, the last layer linear and the same for every image",
        source="Laszkiewicz et al., Single-Model Attribution ... Final-Layer Inversion (FLIPAD),"
        " arXiv 2306.06210",
        simplified="the detector's anomalies are the other sources' images, not photographs; a"
        " smaller detector,"
        " fewer steps of FISTA",
    ),
    "double-reconstruction": Baseline(
        double_reconstruction.fit,
        double_reconstruction.DoubleReconstructionConfig,
        needs="weights of an autoencoder with its encoder",
        source="Wang et al., AEDR: ... Autoencoder Double-Reconstruction, AAAI 2026, arXiv"
        " 2507.18988",
        simplified="the posterior's mean in place of a sample; losses at least what rounding to"
        " bytes leaves",
    ),
}
