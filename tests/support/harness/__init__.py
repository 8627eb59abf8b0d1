"""What end-to-end tests and benches are made of: real Envoys, the control plane, echo services."""
