"""What the world is: latent, recurrent core, RSSM, and the model with its heads."""
