"""What several tests need: small studies, quick commands, slow oracles."""
