"""Attribution: racing the candidates, pilot studies, evidence, verdicts with caveats,
calibration.
"""
