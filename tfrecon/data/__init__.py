"""From files to batches: samples, recipes, damage, augmentation and the tf.data pipeline."""
