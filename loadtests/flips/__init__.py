"""A hundred new versions, one after the other, under load: does a client ever notice?"""
